"""Class token and positions (Dosovitskiy et al. 2021, arXiv:2010.11929).

Forward    tokens = [class_token, x_1, ..., x_n],   with the same class token for every image
           y      = tokens + positions,             with the same table for every image
"""

from typing import NamedTuple

import jax.numpy as jnp


class Cache(NamedTuple):
    """Nothing is kept: copying and adding have constant slopes."""


def forward(x, class_token, positions):
    """x (B, n, D), class_token (D,), positions (N, D) with N = n + 1 -> y (B, N, D) and the cache."""
    B, _, D = x.shape
    class_tokens = jnp.broadcast_to(class_token, (B, 1, D))
    y = jnp.concatenate([class_tokens, x], axis=1) + positions
    return y, Cache()


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, n, D), dclass_token (D,), dpositions (N, D)."""
    raise NotImplementedError  # yours to write
