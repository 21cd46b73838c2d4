"""Shifted patch tokenization (Lee et al. 2021, arXiv:2112.13492): what a patch sees beyond its own edges.

Forward    y  = the image and its copies shifted up left, up right, down left and down right by half a patch, all five
                side by side along the channels; zeros move in at the edges  (SHIFT.1)
Backward   dx = dy of the image + the dy of each copy, shifted back          (SHIFT.2)

Where SHIFT.2 comes from: a copy is s(x)[i, j] = x[i - a, j - b], or zero where that lies outside. So x[i, j] reaches
s(x)[i + a, j + b] alone, or nothing where it was pushed out: its gradient is ds[i + a, j + b], or zero, and that is the
shift by (-a, -b). The image is used five times, so five gradients add.

A patch of y (model/layers/patch_embedding.py) then holds 5 P values: its own place, and what lies half a patch from it
in four directions. The paper normalizes these before the projection: `PatchEmbedding(..., norm_before=True)`.

Shapes     x, dx (B, H, W, C); y, dy (B, H, W, 5 C), the channels of one view next to each other
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params
from model.layers.patch_embedding import Size, height_width

VIEWS = 5
"""The image and its four shifted copies."""


class ShiftedPatchesCache(NamedTuple):
    """Nothing is kept: the way back is known from the sizes."""


@dataclass(frozen=True)
class ShiftedPatches:
    """Put four copies of an image, shifted along the diagonals by half of `patch_size` (rounded down), behind it."""

    patch_size: Size

    @property
    def shifts(self) -> tuple[tuple[int, int], ...]:
        """Of the four copies: pixels down and to the right."""
        down, right = (side // 2 for side in height_width(self.patch_size))
        return (-down, -right), (-down, right), (down, -right), (down, right)

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, ShiftedPatchesCache]:
        copies = [shift(x, down, right) for down, right in self.shifts]
        return jnp.concatenate([x, *copies], axis=-1), ShiftedPatchesCache()  # SHIFT.1

    def backward(self, params: Params, cache: ShiftedPatchesCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dimage, *dcopies = jnp.split(dy, VIEWS, axis=-1)
        dx = dimage
        for (down, right), dcopy in zip(self.shifts, dcopies, strict=True):
            dx = dx + shift(dcopy, -down, -right)  # SHIFT.2
        return dx, {}


def shift(images: jax.Array, down: int, right: int) -> jax.Array:
    """Images (B, H, W, C) moved by so many pixels, negative ones up and left; what moves in is zero."""
    _, H, W, _ = images.shape
    edge_y, edge_x = abs(down), abs(right)
    padded = jnp.pad(images, ((0, 0), (edge_y, edge_y), (edge_x, edge_x), (0, 0)))
    top, left = edge_y - down, edge_x - right
    return padded[:, top : top + H, left : left + W]
