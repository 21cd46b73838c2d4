"""Complete multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762).

Forward    q, k, v = the three thirds of x W_qkv + b_qkv, split into HEADS heads of width K
           weights = softmax of each row of q k^T / sqrt(K)
           y       = merge(weights v) W_out + b_out

Work backwards from the end: every line of the forward has its line in the backward, in reverse order.
Name the gradients on the way after the forward (dmerged, dmixed, dweights, dv, dscores, dq, dk), and the check says
which is the first that is wrong, also before the last line is written.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

HEADS = 3


class Cache(NamedTuple):
    x: jax.Array  # (B, N, D)
    q: jax.Array  # (B, HEADS, N, K)
    k: jax.Array  # (B, HEADS, N, K)
    v: jax.Array  # (B, HEADS, N, K)
    weights: jax.Array  # (B, HEADS, N, N)
    merged: jax.Array  # (B, N, D)
    W_qkv: jax.Array  # (D, 3 D)
    W_out: jax.Array  # (D, D)


def forward(x, W_qkv, b_qkv, W_out, b_out):
    """x (B, N, D), W_qkv (D, 3 D), b_qkv (3 D,), W_out (D, D), b_out (D,) -> y (B, N, D) and the cache."""
    B, N, D = x.shape
    parts = (x @ W_qkv + b_qkv).reshape(B, N, 3, HEADS, D // HEADS)
    q, k, v = parts.transpose(2, 0, 3, 1, 4)  # (B, N, 3, HEADS, K) -> (3, B, HEADS, N, K)
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(D // HEADS)
    exponentials = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = exponentials / exponentials.sum(axis=-1, keepdims=True)
    mixed = weights @ v
    merged = mixed.transpose(0, 2, 1, 3).reshape(B, N, D)  # (B, HEADS, N, K) -> (B, N, HEADS, K) -> (B, N, D)
    y = merged @ W_out + b_out
    return y, Cache(x, q, k, v, weights, merged, W_qkv, W_out)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dW_qkv (D, 3 D), db_qkv (3 D,), dW_out (D, D), db_out (D,)."""
    raise NotImplementedError  # yours to write
