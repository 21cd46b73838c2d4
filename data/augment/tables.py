"""Operations that map each pixel value to another: lookup tables with 256 entries.

A table is int (B, C, 256), or (B, 1, 256) where all channels share it. Applying it is a single gather. Posterize,
solarize and equalize are exactly those of Pillow's ImageOps. Autocontrast is that of ImageOps, brightness and contrast
are those of ImageEnhance, up to rounding; see `autocontrast` and `blend.blend`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.blend import blend, mean_grey
from data.augment.materialize import materialize


def look_up(images: jax.Array, tables: jax.Array) -> jax.Array:
    """Replace each value by its entry in the table of its channel: uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
    B, _, _, C = images.shape
    tables = jnp.broadcast_to(tables, (B, C, 256)).astype(jnp.uint8)
    return materialize(tables.reshape(-1, 4)).reshape(-1)[_flat_index(images)]


def _flat_index(images: jax.Array) -> jax.Array:
    """The position of each value's entry in the flattened tables (B * C * 256): int (B, H, W, C)."""
    B, _, _, C = images.shape
    first = 256 * (C * jnp.arange(B)[:, None, None, None] + jnp.arange(C))
    return first + images


def identity() -> jax.Array:
    """The table that changes nothing: (1, 1, 256)."""
    return jnp.arange(256)[None, None]


def posterize(bits: jax.Array) -> jax.Array:
    """Keep the `bits` most significant bits of 8: int (B,) -> (B, 1, 256)."""
    return identity() & ~((1 << (8 - bits[:, None, None])) - 1)


def solarize(threshold: jax.Array) -> jax.Array:
    """Invert the values of at least `threshold` (256: none): (B,) -> (B, 1, 256)."""
    values = identity()
    return jnp.where(values < threshold[:, None, None], values, 255 - values)


def brightness(factor: jax.Array) -> jax.Array:
    """Factor 0 gives black, 1 the original, more than 1 a brighter image: (B,) -> (B, 1, 256)."""
    return blend(jnp.zeros_like(identity()), identity(), factor[:, None, None])


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Factor 0 gives uniform grey of the image's mean brightness, 1 the original: (B, H, W, C), (B,) -> (B, 1, 256)."""
    return blend(mean_grey(images)[:, :, 0], identity(), factor[:, None, None])


def autocontrast(images: jax.Array) -> jax.Array:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255: (B, H, W, C) -> (B, C, 256).

    Exactly floor(255 (v - darkest) / (brightest - darkest)). Pillow computes this in floating point, and where the
    quotient is an integer its result may be 1 lower. A channel with a single value is unchanged.
    """
    present = histogram(images) > 0
    darkest = jnp.where(present, identity(), 255).min(axis=-1, keepdims=True)
    brightest = jnp.where(present, identity(), 0).max(axis=-1, keepdims=True)
    stretched = 255 * (identity() - darkest) // jnp.maximum(brightest - darkest, 1)
    return jnp.where(brightest > darkest, stretched.clip(0, 255), identity())


def equalize(images: jax.Array) -> jax.Array:
    """Histogram equalization per channel: (B, H, W, C) -> (B, C, 256).

    v becomes (pixels below v + step // 2) // step, where step = (all pixels - pixels of the highest value) // 255.
    With a step of 0 the channel is unchanged.
    """
    counts = histogram(images)
    below = counts.cumsum(axis=-1) - counts
    total = images.shape[1] * images.shape[2]
    highest = jnp.where(below + counts == total, counts, 0).max(axis=-1, keepdims=True)  # only one entry is not 0
    step = (total - highest) // 255
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread.clip(0, 255), identity())


def histogram(images: jax.Array) -> jax.Array:
    """The number of pixels per channel and value: uint8 (B, H, W, C) -> int (B, C, 256)."""
    B, _, _, C = images.shape
    return jnp.zeros(B * C * 256, int).at[_flat_index(images)].add(1).reshape(B, C, 256)
