"""The whole of the augmentation, from pixels and labels as they are stored to those that the model learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from data.augment.crop import random_crop, random_flip, random_resized_crop
from data.augment.erasing import random_erasing
from data.augment.jitter import color_jitter
from data.augment.mix import mix, one_hot, random_weights
from data.augment.normalize import normalize
from data.augment.policy import STRONGEST, rand_augment, trivial_augment


@dataclass(frozen=True)
class Augmentation:
    """`images, labels = augmentation(key, images, labels, mean, std, num_classes, dtype)`; see `__call__`.

    By default all is off but the normalisation.

    Attributes:
        flip: mirror half of the images.
        crop_padding: shift by up to so many pixels.
        resized_crop: smallest share of the area that is cut out and stretched to the whole; None: off.
        color_jitter: how far the factors of brightness, contrast and saturation are from 1, at most; 0: off.
        policy: none, trivial_augment or rand_augment: one of fourteen operations, or several.
        rand_augment_ops, rand_augment_magnitude: how many, and how strong, from 0 to 10; of rand_augment alone.
        erasing: probability that a box is filled with noise.
        mixup, cutmix: alpha of their Beta distributions; 0: off. With both on, each batch draws which.
        mix_probability: of a batch to be mixed, where one of them is on.

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
        if self.rand_augment_ops < 1:
            raise ValueError(f"rand_augment_ops must be at least 1, got {self.rand_augment_ops}")
        if not 0 <= self.rand_augment_magnitude <= STRONGEST:
            raise ValueError(f"rand_augment_magnitude must be from 0 to 10, got {self.rand_augment_magnitude}")
        for name in ("crop_padding", "color_jitter", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("erasing", "mix_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1, got {getattr(self, name)}")

    def __call__(
        self,
        key: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        mean: Sequence[float],
        std: Sequence[float],
        num_classes: int,
        dtype: DTypeLike,
    ) -> tuple[jax.Array, jax.Array]:
        """A batch as the model sees it.

        key: decides everything that is random.  images: uint8 (B, H, W, 3).  labels: int (B,).
        mean, std: of the pixels in 0..1, a number for each channel.

        Returns images of `dtype` (B, H, W, 3), normalized; labels as they came, or (B, C) probabilities with mixup or
        cutmix.
        """
        flip_key, crop_key, resize_key, jitter_key, policy_key, erase_key, mix_key = jax.random.split(key, 7)
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
        if (self.mixup or self.cutmix) and self.mix_probability:
            _, H, W, _ = images.shape
            weights = random_weights(mix_key, (H, W), self.mixup, self.cutmix, self.mix_probability)
            labels = one_hot(labels, num_classes, jnp.promote_types(dtype, jnp.float32))
            pixels, labels = mix(pixels, labels, weights)
        return pixels, labels
