"""Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762): every token attends to every token, in H heads.

Forward    q, k, v = the three thirds of x W_qkv + b_qkv, split into H heads of width K  (MHA.1)
           mixed   = attention of q, k, v in each head: MHA.2 to MHA.4 in model/layers/attention.py
           y       = merge(mixed) W_out + b_out: heads side by side again    (MHA.5)
Backward   dmixed   = split(dy W_out^T): the merge undone                    (MHA.6)
           dq, dk, dv = attention backward of dmixed: MHA.7 to MHA.9
           dx, dW_qkv, db_qkv = dense backward of (dq, dk, dv), side by side  (MHA.10)

The key bias adds the same number to all scores of a row, which softmax ignores: its gradient is exactly zero.

Shapes     x, y, dx, dy (B, N, D); q, k, v, mixed (B, H, N, K); K = D / H
           W_qkv (D, 3D) with columns ordered (3, H, K), b_qkv (3D,); W_out (D, D), b_out (D,); scale (H,) if learned
Cache      those of the three parts
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params
from model.layers.attention import AttentionCache, ProjectedAttention, merge_heads, split_heads
from model.layers.dense import DenseCache


class MultiHeadAttentionCache(NamedTuple):
    qkv: DenseCache  # x (B, N, D)
    attention: AttentionCache  # q, k, v (B, H, N, K) and weights (B, H, N, N)
    out: DenseCache  # merged heads (B, N, D)


@dataclass(frozen=True)
class MultiHeadAttention(ProjectedAttention):
    """Self-attention with `heads` heads over tokens of width `d_model`.

    One matrix product computes the queries, keys and values of all heads: it is faster than three smaller ones. The
    options are those of `ProjectedAttention`.
    """

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, MultiHeadAttentionCache]:
        qkv, qkv_cache = self.qkv.forward(params["qkv"], x)  # (B, N, 3D)
        q, k, v = split_qkv(qkv, self.heads)  # (B, H, N, K) each  MHA.1
        mixed, attention_cache = self.attention.forward(q, k, v, params.get("scale"), key)  # MHA.2 to MHA.4
        y, out_cache = self.out.forward(params["out"], merge_heads(mixed))  # (B, N, D)  MHA.5
        return y, MultiHeadAttentionCache(qkv_cache, attention_cache, out_cache)

    def backward(self, params: Params, cache: MultiHeadAttentionCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dmerged, dout = self.out.backward(params["out"], cache.out, dy)  # (B, N, D)
        dmixed = split_heads(dmerged, self.heads)  # (B, H, N, K)  MHA.6
        dq, dk, dv, dscale = self.attention.backward(cache.attention, dmixed)  # MHA.7 to MHA.9
        dx, dqkv = self.qkv.backward(params["qkv"], cache.qkv, merge_qkv(dq, dk, dv))  # MHA.10
        grads: Params = {"qkv": dqkv, "out": dout}
        return dx, grads if dscale is None else {**grads, "scale": dscale}


def split_qkv(qkv: jax.Array, heads: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values of each head. `merge_qkv` is the inverse, so each is the backward of the other."""
    B, N, three_D = qkv.shape
    parts = qkv.reshape(B, N, 3, heads, three_D // (3 * heads))
    q, k, v = parts.transpose(2, 0, 3, 1, 4)  # (B, N, 3, H, K) -> (3, B, H, N, K)
    return q, k, v


def merge_qkv(dq: jax.Array, dk: jax.Array, dv: jax.Array) -> jax.Array:
    """Put queries, keys and values of all heads side by side again: the inverse of `split_qkv`."""
    B, H, N, K = dq.shape
    parts = jnp.stack([dq, dk, dv])  # (3, B, H, N, K)
    return parts.transpose(1, 3, 0, 2, 4).reshape(B, N, 3 * H * K)  # -> (B, N, 3, H, K) -> (B, N, 3D)
