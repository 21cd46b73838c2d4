"""Tokens back in their places, and a mask token wherever one is missing (He et al. 2021, arXiv:2111.06377).

Forward    y[b, kept[b, j]] = x[b, j],     kept: the places of the tokens that are there, no place twice
           y[b, i]          = mask_token   at every other place i, the same vector in all images

The places are an argument of the forward, so that every evaluation has the same tokens missing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

N = 5


class Cache(NamedTuple):
    kept: jax.Array  # (B, n) integers from 0 to N - 1


def forward(x, mask_token, kept):
    """x (B, n, D), mask_token (D,), kept (B, n) -> y (B, N, D) and the cache."""
    B, _, D = x.shape
    images = jnp.arange(B)[:, None]
    y = jnp.broadcast_to(mask_token, (B, N, D)).at[images, kept].set(x)
    return y, Cache(kept)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, n, D), dmask_token (D,)."""
    raise NotImplementedError  # yours to write
