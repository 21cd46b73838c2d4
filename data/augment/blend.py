"""Blending an image with a degenerate version of itself (grey, smooth or black), as Pillow's ImageEnhance does."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def blend(degenerate: jax.Array, images: jax.Array, factor: jax.Array) -> jax.Array:
    """degenerate + factor (images - degenerate), clipped to 0..255 and rounded down.

    Factor 0 gives `degenerate`, 1 gives `images`, more than 1 extrapolates. Integers of any shapes that broadcast ->
    the dtype of `images`. Equal to Pillow's `Image.blend`, also in single precision, unless XLA fuses multiplication
    and addition; then a value may differ by 1.
    """
    start = degenerate.astype(jnp.float32)
    mixed = start + factor.astype(jnp.float32) * (images.astype(jnp.float32) - start)
    return mixed.clip(0, 255).astype(images.dtype)


def grey(images: jax.Array) -> jax.Array:
    """Luma by ITU-R 601-2: uint8 (B, H, W, 3) -> uint8 (B, H, W, 1). Exactly Pillow's `convert("L")`.

    Images with one channel, (B, H, W, 1), are grey already and returned unchanged.
    """
    if images.shape[-1] == 1:
        return images
    weights = jnp.array([19595, 38470, 7471])  # 0.299, 0.587 and 0.114 in units of 1 / 65536
    return ((images.astype(int) * weights).sum(axis=-1, keepdims=True) + 32768 >> 16).astype(jnp.uint8)


def mean_grey(images: jax.Array) -> jax.Array:
    """The mean of `grey` over an image, rounded: uint8 (B, H, W, C) -> int (B, 1, 1, 1), C = 1 or 3."""
    _, H, W, _ = images.shape
    total = grey(images).sum(axis=(1, 2, 3), keepdims=True, dtype=int)
    return (2 * total + H * W) // (2 * H * W)


def smooth(images: jax.Array) -> jax.Array:
    """Weighted mean over 3 x 3 pixels, weight 5 in the middle; border pixels are unchanged. Exactly ImageFilter.SMOOTH.

    uint8 (B, H, W, C) -> uint8 (B, H, W, C)
    """
    wide = images.astype(int)
    columns = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    total = columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    middle = ((2 * total + 13) // 26).astype(jnp.uint8)  # total / 13, rounded
    return images.at[:, 1:-1, 1:-1].set(middle)


def saturation(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Factor 0 gives grey, 1 the original, more than 1 stronger colours: (B, H, W, 3), (B,) -> uint8 (B, H, W, 3)."""
    return blend(grey(images), images, factor[:, None, None, None])


def sharpness(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Factor 0 smooths, 1 is the original, more than 1 sharpens: (B, H, W, C), (B,) -> uint8 (B, H, W, C)."""
    return blend(smooth(images), images, factor[:, None, None, None])
