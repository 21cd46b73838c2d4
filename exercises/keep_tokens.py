"""Patch dropout (Liu et al. 2023, arXiv:2208.07220): each image is shown by a few of its tokens.

Forward    y[b, j] = x[b, kept[b, j]],   kept: the places of the tokens that are kept, no place twice

The places are an argument of the forward, so that every evaluation keeps the same tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cache(NamedTuple):
    kept: jax.Array  # (B, n) integers from 0 to N - 1
    x: jax.Array  # (B, N, D), for its shape


def forward(x, kept):
    """x (B, N, D), kept (B, n) -> y (B, n, D) and the cache."""
    images = jnp.arange(len(x))[:, None]
    y = x[images, kept]
    return y, Cache(kept, x)


def backward(cache, dy):
    """dy (B, n, D) -> dx (B, N, D)."""
    raise NotImplementedError  # yours to write
