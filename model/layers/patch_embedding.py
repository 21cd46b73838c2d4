"""Patch embedding (Dosovitskiy et al. 2021, arXiv:2010.11929): an image becomes a sequence of tokens.

Forward    patches = the image cut into (H/h) x (W/w) patches, each flattened to P = h w C values  (PATCH.1)
           y = norm(patches) W + b, then norm: both norms are optional       (PATCH.2)
Backward   dense and norm by their own rules; cutting only moves numbers, so its backward moves them back (PATCH.3)

A convolution whose stride is its kernel size computes the same: no pixel is in two patches, so the convolution is one
matrix product over flattened patches.

Shapes     images (B, H, W, C); patches (B, N, P), N in row-major order of the grid, P ordered (h, w, C); y (B, N, D)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax

from model.combinators import Composite, Sequential
from model.layer import Layer, Params, require_sizes
from model.layers.dense import Dense
from model.layers.layer_norm import LayerNorm

Size = int | tuple[int, int]
"""In pixels: the side of a square, or (height, width)."""


def height_width(size: Size) -> tuple[int, int]:
    """`8 -> (8, 8)`; a pair stays as it is."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


class PatchifyCache(NamedTuple):
    """Nothing is kept: the configured sizes are enough to undo the cut."""


@dataclass(frozen=True)
class Patchify:
    """Cut images into flattened patches; no parameters.

    Raises:
        ValueError: the patch size does not divide the image size, or an image has another shape than configured.
    """

    image_size: Size
    patch_size: Size
    channels: int

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size"):
            size = getattr(self, name)
            pair = size if isinstance(size, tuple) else (size, size)
            if len(pair) != 2 or not all(isinstance(side, int) for side in pair):
                raise ValueError(f"{name} must be an integer or a tuple of two (height, width), got {size!r}")
        require_sizes(self, "channels")
        (H, W), (h, w) = height_width(self.image_size), height_width(self.patch_size)
        if min(H, W, h, w) < 1 or H % h or W % w:
            raise ValueError(f"patch_size must divide image_size: {h}x{w} patches do not tile a {H}x{W} image")

    @property
    def grid(self) -> tuple[int, int]:
        """The number of patches, down and across."""
        (H, W), (h, w) = height_width(self.image_size), height_width(self.patch_size)
        return H // h, W // w

    @property
    def patch_values(self) -> int:
        """P, the number of values in a flattened patch."""
        h, w = height_width(self.patch_size)
        return h * w * self.channels

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, PatchifyCache]:
        expected = (*height_width(self.image_size), self.channels)
        if x.ndim != 4 or x.shape[1:] != expected:
            raise ValueError(f"expected images of shape (B, {', '.join(map(str, expected))}), got {x.shape}")
        (rows, columns), (h, w) = self.grid, height_width(self.patch_size)
        B, C = x.shape[0], self.channels
        cut = x.reshape(B, rows, h, columns, w, C).transpose(0, 1, 3, 2, 4, 5)  # -> (B, rows, columns, h, w, C)
        return cut.reshape(B, rows * columns, h * w * C), PatchifyCache()  # PATCH.1

    def backward(self, params: Params, cache: PatchifyCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        (rows, columns), (h, w) = self.grid, height_width(self.patch_size)
        B, C = dy.shape[0], self.channels
        cut = dy.reshape(B, rows, columns, h, w, C).transpose(0, 1, 3, 2, 4, 5)  # -> (B, rows, h, columns, w, C)
        return cut.reshape(B, rows * h, columns * w, C), {}  # PATCH.3


@dataclass(frozen=True)
class PatchEmbedding(Composite):
    """Patches, projected to the model width, with an optional layer norm before and after the projection."""

    image_size: Size
    patch_size: Size
    channels: int
    d_model: int
    norm_before: bool = False
    norm_after: bool = False
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require_sizes(self, "channels", "d_model")
        _ = self.body  # its layers check their own sizes

    @property
    def patchify(self) -> Patchify:
        return Patchify(self.image_size, self.patch_size, self.channels)

    @property
    def body(self) -> Sequential:
        P = self.patchify.patch_values
        layers: list[tuple[str, Layer]] = [("patchify", self.patchify)]
        if self.norm_before:
            layers.append(("norm_before", LayerNorm(P, self.eps)))
        layers.append(("project", Dense(P, self.d_model)))
        if self.norm_after:
            layers.append(("norm_after", LayerNorm(self.d_model, self.eps)))
        return Sequential(tuple(layers))  # PATCH.2
