"""Softmax over the last axis.

Forward    p_i = exp(s_i - max s) / sum_j exp(s_j - max s)                   (SM.1)
Backward   ds  = p * (dp - sum_j dp_j p_j)                                   (SM.2)

Where SM.2 comes from: the Jacobian is ∂p_j/∂s_i = p_j (delta_ij - p_i), so ds_i = sum_j dp_j p_j (delta_ij - p_i)
= p_i (dp_i - sum_j dp_j p_j): the gradient minus its p-weighted mean, times p. The Jacobian is never built.
The shift by the maximum keeps exp from overflowing and cancels in the quotient: p does not depend on it, so it has no
gradient, and each row of ds sums to zero.

Shapes     s, p, ds, dp (..., n)
Cache      p (..., n): SM.2 needs nothing else
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params


class SoftmaxCache(NamedTuple):
    p: jax.Array  # (..., n), rows sum to 1


@dataclass(frozen=True)
class Softmax:
    """Turn the scores along the last axis into probabilities."""

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, SoftmaxCache]:
        exponentials = jnp.exp(x - x.max(axis=-1, keepdims=True))
        p = exponentials / exponentials.sum(axis=-1, keepdims=True)  # SM.1
        return p, SoftmaxCache(p)

    def backward(self, params: Params, cache: SoftmaxCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        p = cache.p
        dx = p * (dy - (dy * p).sum(axis=-1, keepdims=True))  # SM.2
        return dx, {}
