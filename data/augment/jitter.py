"""Colour jitter: brightness, contrast and saturation, each a little off."""

from __future__ import annotations

import jax

from data.augment.blend import saturation
from data.augment.tables import brightness, contrast, look_up


def color_jitter(key: jax.Array, images: jax.Array, strength: float) -> jax.Array:
    """Brightness, then contrast, then saturation, times factors uniform in 1 - strength..1 + strength, not below 0.

    uint8 (B, H, W, 3) -> uint8 (B, H, W, 3); three factors for each image. After Krizhevsky et al. 2012, "ImageNet
    Classification with Deep Convolutional Neural Networks", and Howard 2013, arXiv:1312.5402.
    """
    factors = jax.random.uniform(key, (3, len(images)), minval=max(0.0, 1 - strength), maxval=1 + strength)
    images = look_up(images, brightness(factors[0]))
    images = look_up(images, contrast(images, factors[1]))
    return saturation(images, factors[2])
