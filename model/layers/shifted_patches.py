"""Shifted patch tokenization (Lee et al. 2021, arXiv:2112.13492): each patch also sees beyond its own edges.

Forward    y  = the image and its copies shifted up left, up right, down left and down right by half a patch, all five
                concatenated along the channels; zeros fill the edges        (SHIFT.1)
Backward   dx = dy of the image + the dy of each copy, shifted back          (SHIFT.2)

Where SHIFT.2 comes from: a copy is s(x)[i, j] = x[i - a, j - b], or zero where that lies outside. So x[i, j] reaches
s(x)[i + a, j + b] alone, or nothing if that lies outside. Its gradient is ds[i + a, j + b], or zero: the copy's
gradient shifted by (-a, -b). The image is used five times, so five gradients add.

A patch of y (model/layers/patch_embedding.py) then holds 5 P values: its own pixels, and those half a patch away in
four directions. The paper normalizes these before the projection: `PatchEmbedding(..., norm_before=True)`.

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
    """Nothing is kept: the configured size is enough to undo the shifts."""


@dataclass(frozen=True)
class ShiftedPatches:
    """Append four copies of an image along the channels, shifted diagonally by half of `patch_size` (rounded down)."""

    patch_size: Size

    def __post_init__(self) -> None:
        if min(height_width(self.patch_size)) < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")

    @property
    def shifts(self) -> tuple[tuple[int, int], ...]:
        """The shift of each of the four copies in pixels: down, right."""
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
    """Shift images (B, H, W, C) down and to the right, or up and left if negative; zeros fill the edges."""
    _, H, W, _ = images.shape
    edge_y, edge_x = abs(down), abs(right)
    padded = jnp.pad(images, ((0, 0), (edge_y, edge_y), (edge_x, edge_x), (0, 0)))
    top, left = edge_y - down, edge_x - right
    return padded[:, top : top + H, left : left + W]
