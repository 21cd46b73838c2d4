"""Random boxes of a given range of areas and shapes: what is cropped, and what is erased."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

TRIES = 10  # shapes drawn for each image, of which the first that fits into it is taken


def random_boxes(
    key: jax.Array, count: int, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float]
) -> jax.Array:
    """`count` boxes inside an image of `size` = (H, W): int (count, 4), top, left, height and width in pixels.

    Their area is uniform in the range `area`, a share of the image's; width over height is uniform in the range
    `aspect` on a logarithmic scale, so that w/h and h/w are equally likely; the place is uniform among those inside. A
    shape that does not fit is drawn again, so wide boxes of almost the whole area are rarer than asked for. If none of
    ten fits, the sides of the tenth are cut to the image's.
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
