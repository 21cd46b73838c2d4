"""Changes of a value that depend on that value and the image alone: lookup tables of 256 entries.

A table is int (B, C, 256), or (B, 1, 256) where all channels share it. However it was made, to apply it is one gather.
Posterize, solarize and equalize are exactly those of Pillow's ImageOps; `autocontrast` says where it differs, and
`blend` says it for brightness and contrast, which are those of ImageEnhance.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.blend import blend, mean_grey
from data.augment.settled import settled


def look_up(images: jax.Array, tables: jax.Array) -> jax.Array:
    """Each value replaced by that in its table: uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
    B, _, _, C = images.shape
    tables = jnp.broadcast_to(tables, (B, C, 256)).astype(jnp.uint8)
    return settled(tables.reshape(-1, 4)).reshape(-1)[_entry(images)]


def _entry(images: jax.Array) -> jax.Array:
    """Where the entry of each value stands, when the B x C tables are one long list: int (B, H, W, C)."""
    B, _, _, C = images.shape
    first = 256 * (C * jnp.arange(B)[:, None, None, None] + jnp.arange(C))
    return first + images


def identity() -> jax.Array:
    """Every value stays as it is: (1, 1, 256)."""
    return jnp.arange(256)[None, None]


def posterize(bits: jax.Array) -> jax.Array:
    """Keep the highest `bits` of 8: int (B,) -> (B, 1, 256)."""
    return identity() & ~((1 << (8 - bits[:, None, None])) - 1)


def solarize(threshold: jax.Array) -> jax.Array:
    """Invert what is at least `threshold`; 256 inverts nothing: (B,) -> (B, 1, 256)."""
    values = identity()
    return jnp.where(values < threshold[:, None, None], values, 255 - values)


def brightness(factor: jax.Array) -> jax.Array:
    """Black for 0, as it was for 1, brighter above: (B,) -> (B, 1, 256)."""
    return blend(jnp.zeros_like(identity()), identity(), factor[:, None, None])


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """All grey, of the image's mean brightness, for 0; as it was for 1: (B, H, W, 3), (B,) -> (B, 1, 256)."""
    return blend(mean_grey(images)[:, :, 0], identity(), factor[:, None, None])


def autocontrast(images: jax.Array) -> jax.Array:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255: (B, H, W, C) -> (B, C, 256).

    Exactly floor(255 (v - darkest) / (brightest - darkest)). Pillow computes that in floating point: where the quotient
    is a whole number it may find 1 less. A channel of one value alone stays as it is.
    """
    present = histogram(images) > 0
    darkest = jnp.where(present, identity(), 255).min(axis=-1, keepdims=True)
    brightest = jnp.where(present, identity(), 0).max(axis=-1, keepdims=True)
    stretched = 255 * (identity() - darkest) // jnp.maximum(brightest - darkest, 1)
    return jnp.where(brightest > darkest, stretched.clip(0, 255), identity())


def equalize(images: jax.Array) -> jax.Array:
    """Spread each channel so that all values become about equally frequent: (B, H, W, C) -> (B, C, 256).

    v becomes (pixels below v + step // 2) // step, where step is one 255th of the pixels, those of the highest value
    not counted. Where that is less than one pixel the channel stays as it is.
    """
    counts = histogram(images)
    below = counts.cumsum(axis=-1) - counts
    total = images.shape[1] * images.shape[2]
    highest = jnp.where(below + counts == total, counts, 0).max(axis=-1, keepdims=True)  # only one of these is not 0
    step = (total - highest) // 255
    spread = (below + step // 2) // jnp.maximum(step, 1)
    return jnp.where(step > 0, spread.clip(0, 255), identity())


def histogram(images: jax.Array) -> jax.Array:
    """How many pixels of each channel have each value: uint8 (B, H, W, C) -> int (B, C, 256)."""
    B, _, _, C = images.shape
    return jnp.zeros(B * C * 256, int).at[_entry(images)].add(1).reshape(B, C, 256)
