"""Dense layer: the gradient of its input.

Forward    y = x W + b,   in full y_j = sum_i x_i W_ij + b_j for each token of each image

Write it with indices first: which of the y_j does one x_i reach? Use the shapes only as a check afterwards.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cache(NamedTuple):
    W: jax.Array  # (D, M)


def forward(x, W, b):
    """x (B, N, D), W (D, M), b (M,) -> y (B, N, M) and the cache."""
    y = x @ W + b
    return y, Cache(W)


def backward(cache, dy):
    """dy (B, N, M) -> dx (B, N, D)."""
    raise NotImplementedError  # yours to write
