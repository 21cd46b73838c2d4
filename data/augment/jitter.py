"""Colour jitter: random brightness, contrast and, for colour images, saturation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.blend import blend, grey, mean_grey


def color_jitter(key: jax.Array, images: jax.Array, strength: float) -> jax.Array:
    """Change brightness, contrast and saturation, in this order, by factors uniform in 1 - strength..1 + strength.

    uint8 (B, H, W, C) -> uint8 (B, H, W, C); three factors per image, at least 0. With C = 1 the saturation is left
    out. After Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", and Howard
    2013, arXiv:1312.5402.
    """
    least, most = max(0.0, 1 - strength), 1 + strength
    brightness, contrast, saturation = jax.random.uniform(key, (3, len(images), 1, 1, 1), minval=least, maxval=most)
    images = blend(jnp.zeros_like(images), images, brightness)
    images = blend(mean_grey(images), images, contrast)
    return images if images.shape[-1] == 1 else blend(grey(images), images, saturation)
