"""MixUp (Zhang et al. 2017, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899).

Both combine an image with a partner, and the labels in the same proportion. Each pixel has a weight w for the image
and 1 - w for the partner; the labels are mixed with the mean of w over all pixels. For MixUp w is constant; for CutMix
it is 0 inside a box and 1 outside. Partners are neighbours in the batch: the first image and the second, the third and
the fourth, and so on; the last of an odd number remains as it is. w is drawn once per batch.

    image = w image + (1 - w) partner                                        (MIX.1)
    label = mean(w) label + (1 - mean(w)) partner's label                    (MIX.2)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.erasing import box_mask


def mix(images: jax.Array, labels: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mix images (B, H, W, C) and label probabilities (B, C) with their partners, by weights (H, W)."""
    w = weights[..., None].astype(images.dtype)
    share = weights.mean().astype(labels.dtype)
    images = w * images + (1 - w) * partners(images)  # MIX.1
    return images, share * labels + (1 - share) * partners(labels)  # MIX.2


def partners(batch: jax.Array) -> jax.Array:
    """The partner of each image: (B, ...) -> (B, ...). The last of an odd number is its own."""
    even = len(batch) // 2 * 2
    swapped = batch[:even].reshape(-1, 2, *batch.shape[1:])[:, ::-1].reshape(even, *batch.shape[1:])
    return jnp.concatenate([swapped, batch[even:]])


def random_weights(key: jax.Array, size: tuple[int, int], mixup: float, cutmix: float, probability: float) -> jax.Array:
    """The weights (H, W) of a batch, for MixUp or CutMix; with both alphas above 0, each is used with probability 1/2.

    mixup, cutmix: alpha of their Beta distributions; 0 turns one off, and at least one must be on. With probability
    1 - `probability` all weights are 1, which mixes nothing.
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
    """(H, W), constant, drawn from Beta(alpha, alpha)."""
    return jnp.full(size, jax.random.beta(key, alpha, alpha))


def cutmix_weights(key: jax.Array, size: tuple[int, int], alpha: float) -> jax.Array:
    """(H, W), 0 in a box and 1 elsewhere.

    The box has the aspect ratio of the image and 1 - lambda of its area, with lambda from Beta(alpha, alpha). Its
    centre is uniform in the image, and the box is clipped to the image; the labels are mixed by the area that remains.
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
    """Integer labels (B,) as probabilities (B, C)."""
    rows = (labels[:, None] == jnp.arange(num_classes)).astype(dtype)
    # A label outside 0..C-1 would give a row of zeros, and so a loss of 0 without any error. NaN stops the run instead.
    known = (labels >= 0) & (labels < num_classes)
    return jnp.where(known[:, None], rows, jnp.nan)
