"""Augmentation and normalisation, in jax.numpy: pure functions of a key that run inside the jitted training step."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """(images / 255 - mean) / std per channel: uint8 (B, H, W, C) -> dtype (B, H, W, C).

    Computed in float32 at least, so that a half-precision `dtype` rounds once, at the end.
    """
    precise = jnp.promote_types(dtype, jnp.float32)
    scale = 1 / (255 * jnp.asarray(std, precise))
    shift = jnp.asarray(mean, precise) / jnp.asarray(std, precise)
    return (images.astype(precise) * scale - shift).astype(dtype)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror each image left to right with probability 1/2: (B, H, W, C) -> (B, H, W, C)."""
    flip = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1, :], images)


def random_crop(key: jax.Array, images: jax.Array, padding: int) -> jax.Array:
    """Pad each image by `padding` zeros on every side and cut its size out again at a random place.

    That is a shift by -padding..padding pixels on each axis, all (2 padding + 1)^2 equally likely and drawn for each
    image on its own; what comes in from outside is black, for it acts on uint8 pixels, before `normalize`.
    (B, H, W, C) -> (B, H, W, C), as in the training of residual nets on CIFAR (He et al. 2016, arXiv:1512.03385, 4.2).
    """
    if padding == 0:
        return images
    batch, *size = images.shape
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), size)

    return jax.vmap(cut)(padded, corners)
