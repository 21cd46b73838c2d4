"""Patch embedding (Dosovitskiy et al. 2021, arXiv:2010.11929): an image becomes a sequence of tokens.

Forward    patches = the image cut into ROWS x COLUMNS patches, each flattened to P = h w CHANNELS values
           y       = patches W + b

Cutting only moves numbers; it computes nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

ROWS, COLUMNS, h, w, CHANNELS = 3, 2, 4, 5, 3  # of an image of (ROWS h) x (COLUMNS w) pixels


class Cache(NamedTuple):
    patches: jax.Array  # (B, n, P), n = ROWS COLUMNS
    W: jax.Array  # (P, D)


def forward(images, W, b):
    """images (B, ROWS h, COLUMNS w, CHANNELS), W (P, D), b (D,) -> y (B, n, D) and the cache."""
    cut = images.reshape(-1, ROWS, h, COLUMNS, w, CHANNELS)
    cut = cut.transpose(0, 1, 3, 2, 4, 5)  # -> (B, ROWS, COLUMNS, h, w, CHANNELS)
    patches = cut.reshape(-1, ROWS * COLUMNS, h * w * CHANNELS)
    y = patches @ W + b
    return y, Cache(patches, W)


def backward(cache, dy):
    """dy (B, n, D) -> dimages (B, ROWS h, COLUMNS w, CHANNELS), dW (P, D), db (D,)."""
    raise NotImplementedError  # yours to write
