"""The augmentation pipeline: from stored pixels and labels to the batch that the model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from data.augment.crop import random_crop, random_flip, random_resized_crop
from data.augment.erasing import random_erasing
from data.augment.jitter import color_jitter
from data.augment.mix import mix, one_hot, random_weights
from data.augment.normalize import normalize
from data.augment.policy import COLOUR_OPERATIONS, MAX_MAGNITUDE, rand_augment, trivial_augment

MAX_OPERATIONS = 100


class Keys(NamedTuple):
    """The PRNG keys of a batch. An image is augmented with its own, whichever images it is with."""

    images: jax.Array  # (B,)
    mix: jax.Array  # of the proportions in which the whole batch is mixed


def split_keys(key: jax.Array, count: int) -> Keys:
    """The keys of a batch of `count` images."""
    image_key, mix_key = jax.random.split(key)
    return Keys(jax.random.split(image_key, count), mix_key)


@dataclass(frozen=True)
class Augmentation:
    """`images, labels = augmentation(key, images, labels, mean, std, num_classes, dtype)`; see `__call__`.

    By default everything but the normalization is off. Images with one channel stay so: what changes only colours is
    left out for them (see `left_out`).

    Attributes:
        flip: mirror half of the images left to right.
        crop_padding: maximum random shift, in pixels.
        resized_crop: minimum fraction of the area that a random crop keeps; it is resized to the image; None: off.
        color_jitter: maximum |factor - 1| of brightness, contrast and saturation; 0: off.
        policy: none, trivial_augment (one of fourteen operations) or rand_augment (several).
        rand_augment_ops, rand_augment_magnitude: number of operations and their magnitude, 0 to 10; rand_augment only.
        erasing: probability that a box of an image is filled with noise.
        mixup, cutmix: alpha of their Beta distributions; 0: off. With both on, each batch uses one at random.
        mix_probability: probability that a batch is mixed, if MixUp or CutMix is on.

    Raises:
        ValueError: an attribute is out of its range.
    """

    flip: bool = False
    crop_padding: int = 0
    resized_crop: float | None = None
    color_jitter: float = 0.0
    policy: Literal["none", "trivial_augment", "rand_augment"] = "none"
    rand_augment_ops: int = 2
    rand_augment_magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0

    def __post_init__(self) -> None:
        if self.policy not in ("none", "trivial_augment", "rand_augment"):
            raise ValueError(f"policy must be none, trivial_augment or rand_augment, got {self.policy}")
        if self.resized_crop is not None and not 0 < self.resized_crop <= 1:
            raise ValueError(f"resized_crop must be above 0 and at most 1, or null, got {self.resized_crop}")
        if not 1 <= self.rand_augment_ops <= MAX_OPERATIONS:  # each is compiled
            raise ValueError(f"rand_augment_ops must be from 1 to {MAX_OPERATIONS}, got {self.rand_augment_ops}")
        if not 0 <= self.rand_augment_magnitude <= MAX_MAGNITUDE:
            raise ValueError(f"rand_augment_magnitude must be from 0 to 10, got {self.rand_augment_magnitude}")
        for name in ("crop_padding", "color_jitter", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("erasing", "mix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1, got {getattr(self, name)}")

    @property
    def mixes(self) -> bool:
        """Whether images are combined with partners."""
        return bool((self.mixup or self.cutmix) and self.mix_probability)

    def left_out(self, channels: int) -> tuple[str, ...]:
        """The operations of these options that images with so many channels are not given, as they have no colour."""
        if channels > 1:
            return ()
        of_policy = () if self.policy == "none" else COLOUR_OPERATIONS
        return (("saturation",) if self.color_jitter else ()) + of_policy

    def __call__(
        self,
        key: jax.Array | Keys,
        images: jax.Array,
        labels: jax.Array,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int,
        dtype: DTypeLike,
    ) -> tuple[jax.Array, jax.Array]:
        """Augment and normalize a batch, or a part of one.

        key: PRNG key of all random choices; for a part of a batch, its `Keys`.  images: uint8 (B, H, W, 1 or 3).
        labels: int (B,).
        mean, std: per channel, of pixels in 0..1.

        Returns images of `dtype` in the same shape, normalized; labels unchanged, or with MixUp or CutMix as
        probabilities (B, C).

        Raises:
            ValueError: `mean` or `std` has not one number per channel.
        """
        keys = key if isinstance(key, Keys) else split_keys(key, len(images))
        pixels = jax.vmap(lambda key, image: self._one(key, image[None], mean, std, dtype)[0])(keys.images, images)
        if self.mixes:
            _, H, W, _ = images.shape
            weights = random_weights(keys.mix, (H, W), self.mixup, self.cutmix, self.mix_probability)
            labels = one_hot(labels, num_classes, jnp.promote_types(dtype, jnp.float32))
            pixels, labels = mix(pixels, labels, weights)
        return pixels, labels

    def _one(
        self, key: jax.Array, images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike
    ) -> jax.Array:
        """A batch of one image, augmented and normalized."""
        flip_key, crop_key, resize_key, jitter_key, policy_key, erase_key = jax.random.split(key, 6)
        if self.resized_crop is not None:
            images = random_resized_crop(resize_key, images, self.resized_crop)
        if self.flip:
            images = random_flip(flip_key, images)
        if self.crop_padding:
            images = random_crop(crop_key, images, self.crop_padding)
        if self.color_jitter:
            images = color_jitter(jitter_key, images, self.color_jitter)
        if self.policy == "trivial_augment":
            images = trivial_augment(policy_key, images)
        elif self.policy == "rand_augment":
            images = rand_augment(policy_key, images, self.rand_augment_ops, self.rand_augment_magnitude)
        pixels = normalize(images, mean, std, dtype)
        if self.erasing:
            pixels = random_erasing(erase_key, pixels, self.erasing)
        return pixels
