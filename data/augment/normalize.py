"""Normalization: pixels in 0..255 to zero mean and unit standard deviation."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from common.text import counted


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float], dtype: DTypeLike) -> jax.Array:
    """(images / 255 - mean) / std per channel: uint8 (B, H, W, C) -> dtype (B, H, W, C).

    Computed in at least float32, so that a half-precision result is rounded only once.

    Raises:
        ValueError: `mean` or `std` has not one number per channel. It would be broadcast to another number of channels.
    """
    if not len(mean) == len(std) == images.shape[-1]:
        channels = counted(images.shape[-1], "channel")
        raise ValueError(f"mean and std have {len(mean)} and {len(std)} numbers, but the images have {channels}")
    precise = jnp.promote_types(dtype, jnp.float32)
    scale = 1 / (255 * jnp.asarray(std, precise))
    shift = jnp.asarray(mean, precise) / jnp.asarray(std, precise)
    return (images.astype(precise) * scale - shift).astype(dtype)
