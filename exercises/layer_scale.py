"""LayerScale (Touvron et al. 2021, arXiv:2103.17239): a learned gain for each feature, at the end of a branch.

Forward    y = x + gamma branch

x is the skip connection, branch the output of the branch. The same gamma is used for every token of every image.
"""

from typing import NamedTuple

import jax


class Cache(NamedTuple):
    branch: jax.Array  # (B, N, D)
    gamma: jax.Array  # (D,)


def forward(x, branch, gamma):
    """x (B, N, D), branch (B, N, D), gamma (D,) -> y (B, N, D) and the cache."""
    y = x + gamma * branch
    return y, Cache(branch, gamma)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dbranch (B, N, D), dgamma (D,)."""
    raise NotImplementedError  # yours to write
