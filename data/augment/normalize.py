"""From pixels in 0..255 to numbers of mean 0 and standard deviation 1."""

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
