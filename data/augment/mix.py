"""MixUp (Zhang et al. 2017, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899).

Both show two images in one, and ask for both labels. Every pixel has a weight w, with which it is taken from the image
itself, and 1 - w from its partner; the labels are mixed with the mean of w over all pixels. MixUp's w is the same
everywhere; CutMix's is 0 inside a box and 1 outside. The partner is the batch in reverse, and w is drawn once a batch.

    image = w image + (1 - w) partner                                        (MIX.1)
    label = mean(w) label + (1 - mean(w)) partner's label                    (MIX.2)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.erasing import box_mask


def mix(images: jax.Array, labels: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Images (B, H, W, C) and labels (B, C) of probabilities, mixed with their partners by weights (H, W)."""
    w = weights[..., None].astype(images.dtype)
    share = weights.mean().astype(labels.dtype)
    images = w * images + (1 - w) * images[::-1]  # MIX.1
    return images, share * labels + (1 - share) * labels[::-1]  # MIX.2


def random_weights(key: jax.Array, size: tuple[int, int], mixup: float, cutmix: float, probability: float) -> jax.Array:
    """The weights (H, W) of a batch: MixUp's or CutMix's by their alpha, each as often where both are on (above 0).

    With 1 - probability they are all 1, which mixes nothing. At least one of the two must be on.
    """
    mixed_key, which_key, mixup_key, cutmix_key = jax.random.split(key, 4)
    if mixup and cutmix:
        first = jax.random.bernoulli(which_key)
        weights = jnp.where(first, mixup_weights(mixup_key, size, mixup), cutmix_weights(cutmix_key, size, cutmix))
    elif mixup:
        weights = mixup_weights(mixup_key, size, mixup)
    else:
        weights = cutmix_weights(cutmix_key, size, cutmix)
    return jnp.where(jax.random.bernoulli(mixed_key, probability), weights, 1.0)


def mixup_weights(key: jax.Array, size: tuple[int, int], alpha: float) -> jax.Array:
    """(H, W), everywhere the same number from Beta(alpha, alpha)."""
    return jnp.full(size, jax.random.beta(key, alpha, alpha))


def cutmix_weights(key: jax.Array, size: tuple[int, int], alpha: float) -> jax.Array:
    """(H, W), 0 in a box and 1 elsewhere.

    It is to have 1 - lambda of the area, with lambda from Beta(alpha, alpha), and the shape of the image. Its middle is
    anywhere in the image, and what stands out is cut off: so it is often smaller, and its real area is what counts.
    """
    H, W = size
    share_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))
    half_height, half_width = (H * side).astype(int) // 2, (W * side).astype(int) // 2
    top = jax.random.randint(row_key, (), 0, H) - half_height
    left = jax.random.randint(column_key, (), 0, W) - half_width
    box = jnp.stack([top, left, 2 * half_height, 2 * half_width])
    return 1.0 - box_mask(box, size)


def one_hot(labels: jax.Array, num_classes: int, dtype: jnp.dtype) -> jax.Array:
    """Integers (B,) as probabilities (B, C)."""
    rows = (labels[:, None] == jnp.arange(num_classes)).astype(dtype)
    # A label outside 0..C-1 has no one in its row, so its loss would silently be 0. NaN stops a run instead.
    known = (labels >= 0) & (labels < num_classes)
    return jnp.where(known[:, None], rows, jnp.nan)
