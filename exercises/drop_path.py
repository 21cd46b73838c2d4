"""Drop path, also called stochastic depth (Huang et al. 2016, arXiv:1603.09382).

Forward    y = x + branch mask / (1 - RATE),   mask is one number per image: 1 keeps, 0 drops the branch

In the model the branch is a function of x. Here both are given, and each has its gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

RATE = 0.2


class Cache(NamedTuple):
    mask: jax.Array  # (B, 1, 1), 0 or 1


def forward(x, branch, mask):
    """x (B, N, D), branch (B, N, D), mask (B, 1, 1) -> y (B, N, D) and the cache."""
    y = x + branch * mask / (1 - RATE)
    return y, Cache(mask)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dbranch (B, N, D)."""
    raise NotImplementedError  # yours to write
