"""Attention whose weights are not kept, but recomputed a block of keys at a time (Dao et al. 2022, arXiv:2205.14135).

Forward    scores  = q k^T / sqrt(K),   weights = softmax of each row of scores,   y = weights v

The forward reads the keys in blocks of BLOCK. It never has a whole row of weights; it keeps y, and for each query the
logarithm of the sum of all its exponentials. From that the backward gets the weights of any block back.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

BLOCK = 2  # the last block may be smaller


class Cache(NamedTuple):
    q: jax.Array  # (B, H, N, K)
    k: jax.Array  # (B, H, N, K)
    v: jax.Array  # (B, H, N, K)
    y: jax.Array  # (B, H, N, K)
    log_sum: jax.Array  # (B, H, N, 1), log sum_j exp(scores_ij)


def forward(q, k, v):
    """q, k, v (B, H, N, K) -> y (B, H, N, K) and the cache."""
    top = jnp.full((*q.shape[:-1], 1), -jnp.inf)  # the largest score so far
    total, mixed = jnp.zeros_like(top), jnp.zeros_like(q)
    for start in range(0, k.shape[-2], BLOCK):
        keys, values = (part[..., start : start + BLOCK, :] for part in (k, v))
        scores = q @ keys.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
        before, top = top, jnp.maximum(top, scores.max(axis=-1, keepdims=True))
        exponentials, shrunk = jnp.exp(scores - top), jnp.exp(before - top)  # what is there was relative to `before`
        total = shrunk * total + exponentials.sum(axis=-1, keepdims=True)
        mixed = shrunk * mixed + exponentials @ values
    y = mixed / total
    return y, Cache(q, k, v, y, top + jnp.log(total))


def backward(cache, dy):
    """dy (B, H, N, K) -> dq, dk, dv, each (B, H, N, K)."""
    raise NotImplementedError  # yours to write
