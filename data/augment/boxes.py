"""Random boxes with area and aspect ratio in a given range, for cropping and erasing."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

TRIES = 10  # shapes drawn per image; the first that fits into the image is used


def random_boxes(
    key: jax.Array, count: int, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float]
) -> jax.Array:
    """`count` boxes inside an image of `size` = (H, W): int (count, 4), top, left, height and width in pixels.

    The area is uniform in the range `area`, as a fraction of the image's area. The aspect ratio, width over height, is
    log-uniform in the range `aspect`, so w/h and h/w are equally likely. The position is uniform among those inside
    the image. A shape that does not fit is rejected, so elongated boxes of almost the full area are rarer than the
    range says. If none of TRIES fits, the last one is clipped to the image.
    """
    H, W = size
    area_key, aspect_key, top_key, left_key = jax.random.split(key, 4)
    areas = H * W * jax.random.uniform(area_key, (count, TRIES), minval=area[0], maxval=area[1])
    log_aspect = tuple(map(math.log, aspect))
    aspects = jnp.exp(jax.random.uniform(aspect_key, (count, TRIES), minval=log_aspect[0], maxval=log_aspect[1]))
    heights, widths = jnp.round(jnp.sqrt(areas / aspects)), jnp.round(jnp.sqrt(areas * aspects))
    fits = (heights <= H) & (widths <= W)
    chosen = jnp.where(fits.any(axis=1), fits.argmax(axis=1), TRIES - 1)[:, None]
    height = jnp.take_along_axis(heights, chosen, axis=1)[:, 0].clip(1, H).astype(int)
    width = jnp.take_along_axis(widths, chosen, axis=1)[:, 0].clip(1, W).astype(int)
    top = jax.random.randint(top_key, (count,), 0, H - height + 1)
    left = jax.random.randint(left_key, (count,), 0, W - width + 1)
    return jnp.stack([top, left, height, width], axis=1)
