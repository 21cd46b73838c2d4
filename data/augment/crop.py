"""Flips and crops."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data.augment.boxes import random_boxes

ASPECT = (3 / 4, 4 / 3)  # of a resized crop, width over height


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror each image left to right with probability 1/2: (B, H, W, C) -> (B, H, W, C)."""
    flip = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1, :], images)


def random_crop(key: jax.Array, images: jax.Array, padding: int) -> jax.Array:
    """Pad each image by `padding` zeros on every side and crop it to its size at a random position.

    This is a shift by -padding..padding pixels on each axis, with all (2 padding + 1)^2 equally likely, drawn per
    image. The padding is black, because the images are uint8 pixels that have not been normalized.
    (B, H, W, C) -> (B, H, W, C), as in the training of residual nets on CIFAR (He et al. 2016, arXiv:1512.03385, 4.2).
    """
    if padding == 0:
        return images
    batch, *size = images.shape
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), size)

    return jax.vmap(cut)(padded, corners)


def random_resized_crop(key: jax.Array, images: jax.Array, min_area: float) -> jax.Array:
    """Crop to a box of `min_area`..1 of the area, width over height 3/4..4/3, and resize it to the size of the image.

    uint8 (B, H, W, C) -> uint8 (B, H, W, C), as in the training of Inception (Szegedy et al. 2015, arXiv:1409.4842, 6).
    """
    B, H, W, _ = images.shape
    boxes = random_boxes(key, B, (H, W), area=(min_area, 1.0), aspect=ASPECT)
    return crop_and_resize(images, boxes, (H, W))


def crop_and_resize(images: jax.Array, boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The part of each image inside its box, resized to `size` = (height, width): uint8 (B, H, W, C) -> (B, *size, C).

    Bilinear with antialiasing: each output pixel is a weighted mean of input pixels, with a triangular kernel. The
    kernel is separable, so the resampling is a product with one small matrix for the rows and one for the columns.

    boxes: (B, 4), top, left, height and width in pixels. At the edge of a box the kernel extends into the pixels
    around it. Within 1 level of Pillow's `Image.resize(size, BILINEAR, box)`, which rounds between rows and columns.
    """
    top, left, height, width = boxes.astype(jnp.result_type(float)).T
    rows = triangle_weights(top, height, images.shape[1], size[0])  # (B, size[0], H)
    columns = triangle_weights(left, width, images.shape[2], size[1])  # (B, size[1], W)
    narrow = jnp.einsum("bij,bjkc->bikc", rows, images.astype(rows.dtype))
    resized = jnp.einsum("bkj,bijc->bikc", columns, narrow)
    return jnp.floor(resized + 0.5).astype(jnp.uint8)


def triangle_weights(start: jax.Array, length: jax.Array, pixels: int, out: int) -> jax.Array:
    """Resampling matrices (B, out, pixels) from an axis of `pixels` to `out` pixels that cover [start, start + length).

    start, length: (B,), in input pixels. The triangle has a half-width of one pixel, or of length / out pixels when
    that is more, so that downsampling averages over all pixels it replaces. The weights of an output pixel sum to 1.
    """
    scale = (length / out)[:, None, None]
    centre = start[:, None, None] + (jnp.arange(out)[:, None] + 0.5) * scale  # (B, out, 1)
    distance = jnp.abs(jnp.arange(pixels) + 0.5 - centre) / jnp.maximum(scale, 1)
    weights = jnp.maximum(1 - distance, 0)
    return weights / weights.sum(axis=-1, keepdims=True)
