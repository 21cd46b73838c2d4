"""Shearing, translating and rotating: affine maps of the coordinates, which the nearest pixel follows.

A map is a matrix (B, 2, 3) from a place (x, y, 1) in the result to the place (x, y) in the image that is seen there,
x to the right and y down, in pixels from the upper left corner; the middle of the first pixel is (0.5, 0.5). These are
the conventions of Pillow's `Image.transform(size, AFFINE, data)`, and `data` is the matrix read row by row.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def affine(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Each image seen through its map: uint8 (B, H, W, C) -> uint8 (B, H, W, C). What comes in from outside is black.

    The pixel whose area holds the place is taken, as Pillow does with NEAREST. The two may differ where the place lies
    on the border of two pixels, give or take rounding.
    """
    B, H, W, C = images.shape
    x, y = jnp.arange(W) + 0.5, (jnp.arange(H) + 0.5)[:, None]
    from_x, from_y, constant = jnp.moveaxis(matrices, -1, 0)[..., None, None]  # each (B, 2, 1, 1)
    place = jnp.floor(from_x * x + from_y * y + constant).astype(int)  # (B, 2, H, W)
    column, row = place[:, 0], place[:, 1]
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    first = jnp.arange(B)[:, None, None] * (H * W)  # of each image, when all are one long list of pixels
    seen = jnp.where(inside, first + row * W + column, 0)
    return jnp.where(inside[..., None], images.reshape(-1, C)[seen], 0)


def shear_x(slope: jax.Array) -> jax.Array:
    """Rows slide to the left by `slope` pixels for each pixel from the top: (B,) -> (B, 2, 3)."""
    return _changed({(0, 1): slope})


def shear_y(slope: jax.Array) -> jax.Array:
    """Columns slide up by `slope` pixels for each pixel from the left: (B,) -> (B, 2, 3)."""
    return _changed({(1, 0): slope})


def translate_x(pixels: jax.Array) -> jax.Array:
    """The image moves to the left: (B,) -> (B, 2, 3)."""
    return _changed({(0, 2): pixels})


def translate_y(pixels: jax.Array) -> jax.Array:
    """The image moves up: (B,) -> (B, 2, 3)."""
    return _changed({(1, 2): pixels})


def rotate(degrees: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Against the clock around the middle of an image of `size` = (H, W), as `Image.rotate`: (B,) -> (B, 2, 3)."""
    H, W = size
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    # The middle stays where it is: constant = middle - rotation @ middle.
    constant_x = W / 2 - (cos * W / 2 - sin * H / 2)
    constant_y = H / 2 - (sin * W / 2 + cos * H / 2)
    entries = {(0, 0): cos, (0, 1): -sin, (0, 2): constant_x, (1, 0): sin, (1, 1): cos, (1, 2): constant_y}
    return _changed(entries)


def _changed(entries: dict[tuple[int, int], jax.Array]) -> jax.Array:
    """The identity with other entries, each (B,)."""
    count, dtype = next((len(value), value.dtype) for value in entries.values())
    matrices = jnp.broadcast_to(jnp.asarray(IDENTITY, dtype), (count, 2, 3))
    for (row, column), value in entries.items():
        matrices = matrices.at[:, row, column].set(value)
    return matrices
