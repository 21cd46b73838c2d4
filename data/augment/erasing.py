"""Random erasing (Zhong et al. 2017, arXiv:1708.04896): a box filled with noise covers part of the image."""

from __future__ import annotations

import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from data.augment.boxes import random_boxes

AREA = (0.02, 1 / 3)  # of the box, as a share of the image
ASPECT = (0.3, 1 / 0.3)  # of the box, width over height


def random_erasing(key: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """With this probability, fill a box of an image with normal noise: normalized (B, H, W, C) -> (B, H, W, C).

    The box has 2% to a third of the area and an aspect ratio of 0.3 to 1/0.3. The images are normalized, so that the
    noise has the mean and standard deviation of their pixels.
    """
    B, H, W, _ = images.shape
    erase_key, box_key, noise_key = jax.random.split(key, 3)
    erased = jax.random.bernoulli(erase_key, probability, (B,))
    boxes = random_boxes(box_key, B, (H, W), AREA, ASPECT)
    inside = box_mask(boxes, (H, W)) & erased[:, None, None]
    return jnp.where(inside[..., None], noise(noise_key, images.shape).astype(images.dtype), images)


def box_mask(boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The pixels inside a box: int (..., 4), top, left, height and width -> bool (..., H, W)."""
    top, left, height, width = jnp.moveaxis(boxes, -1, 0)[..., None, None]  # each (..., 1, 1)
    row, column = jnp.arange(size[0])[:, None], jnp.arange(size[1])
    return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


def noise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Normal noise quantized to 256 levels, mean 0 and variance 1: float32 of `shape`.

    Five times as fast as jax.random.normal: each random 32-bit word gives four values, looked up in a table.
    """
    size = math.prod(shape)
    words = jax.random.bits(key, (math.ceil(size / 4),), jnp.uint32)
    levels = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size].reshape(shape)
    return jnp.asarray(_LEVELS, jnp.float32)[levels]


_LEVELS = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])
_LEVELS /= _LEVELS.std()
