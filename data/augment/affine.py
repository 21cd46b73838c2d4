"""Shear, translation and rotation: affine maps of the coordinates with nearest-neighbour sampling.

A map is a matrix (B, 2, 3) from a point (x, y, 1) of the output to the point (x, y) of the input that is shown there.
x points to the right and y down, in pixels from the upper left corner; the centre of the first pixel is (0.5, 0.5).
These are the conventions of Pillow's `Image.transform(size, AFFINE, data)`, where `data` is the matrix row by row.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def affine(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Transform each image by its map: uint8 (B, H, W, C), (B or 1, 2, 3) -> uint8 (B, H, W, C). Outside is black.

    The value is that of the pixel which contains the point, as with Pillow's NEAREST. Rounding may give the neighbour
    where the point lies on a pixel border.
    """
    B, H, W, C = images.shape
    x, y = jnp.arange(W) + 0.5, (jnp.arange(H) + 0.5)[:, None]
    from_x, from_y, constant = jnp.moveaxis(matrices, -1, 0)[..., None, None]  # each (B, 2, 1, 1)
    point = jnp.floor(from_x * x + from_y * y + constant).astype(int)  # (B, 2, H, W)
    column, row = point[:, 0], point[:, 1]
    inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
    first = jnp.arange(B)[:, None, None] * (H * W)  # of each image, in the flattened batch
    index = jnp.where(inside, first + row * W + column, 0)
    return jnp.where(inside[..., None], images.reshape(-1, C)[index], 0)


def shear_x(slope: jax.Array) -> jax.Array:
    """Row y moves to the left by `slope` * y pixels: (B,) -> (B, 2, 3)."""
    return _identity_with({(0, 1): slope})


def shear_y(slope: jax.Array) -> jax.Array:
    """Column x moves up by `slope` * x pixels: (B,) -> (B, 2, 3)."""
    return _identity_with({(1, 0): slope})


def translate_x(pixels: jax.Array) -> jax.Array:
    """The image moves to the left by `pixels`: (B,) -> (B, 2, 3)."""
    return _identity_with({(0, 2): pixels})


def translate_y(pixels: jax.Array) -> jax.Array:
    """The image moves up by `pixels`: (B,) -> (B, 2, 3)."""
    return _identity_with({(1, 2): pixels})


def rotate(degrees: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Counter-clockwise around the centre of an image of `size` = (H, W), as `Image.rotate`: (B,) -> (B, 2, 3)."""
    H, W = size
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    # The centre is a fixed point: constant = centre - rotation @ centre.
    constant_x = W / 2 - (cos * W / 2 - sin * H / 2)
    constant_y = H / 2 - (sin * W / 2 + cos * H / 2)
    entries = {(0, 0): cos, (0, 1): -sin, (0, 2): constant_x, (1, 0): sin, (1, 1): cos, (1, 2): constant_y}
    return _identity_with(entries)


def _identity_with(entries: dict[tuple[int, int], jax.Array]) -> jax.Array:
    """The identity map with some entries replaced, each (B,) -> (B, 2, 3)."""
    count, dtype = next((len(value), value.dtype) for value in entries.values())
    matrices = jnp.broadcast_to(jnp.asarray(IDENTITY, dtype), (count, 2, 3))
    for (row, column), value in entries.items():
        matrices = matrices.at[:, row, column].set(value)
    return matrices
