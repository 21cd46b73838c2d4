"""Dropout (Srivastava et al. 2014, JMLR 15:1929).

Forward    y = x mask / (1 - RATE),   mask is 1 where an element is kept and 0 where it is dropped

The mask is an argument of the forward, so that every evaluation uses the same mask.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

RATE = 0.3


class Cache(NamedTuple):
    mask: jax.Array  # (B, N, D), 0 or 1


def forward(x, mask):
    """x (B, N, D), mask (B, N, D) -> y (B, N, D) and the cache."""
    y = x * mask / (1 - RATE)
    return y, Cache(mask)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D)."""
    raise NotImplementedError  # yours to write
