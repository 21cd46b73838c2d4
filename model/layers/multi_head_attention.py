"""Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762): every token looks at every other, H times over.

Forward    q, k, v = the three thirds of x W_qkv + b_qkv, cut into H heads of width K    (MHA.1)
           scores  = (q / sqrt(K)) k^T                                       (MHA.2)
           weights = softmax(scores), by rows; dropout acts on them in training  (MHA.3)
           mixed   = weights v                                               (MHA.4)
           y       = merge(mixed) W_out + b_out: heads side by side again    (MHA.5)
Backward   dmixed   = split(dy W_out^T): merge undone, so the heads come apart as they were  (MHA.6)
           dweights = dmixed v^T,     dv = weights^T dmixed                  (MHA.7)
           dscores  = softmax and dropout backward of dweights               (MHA.8)
           dq = dscores k / sqrt(K),  dk = dscores^T (q / sqrt(K))           (MHA.9)
           dx, dW_qkv, db_qkv = dense backward of (dq, dk, dv) put side by side  (MHA.10)

MHA.7 and MHA.9 are the rule for a product of matrices: for Z = A B, dA = dZ B^T and dB = A^T dZ. Without the division
by sqrt(K) the scores of random q and k would have variance K, and the softmax would start out saturated, where its
gradient vanishes. The key bias adds the same number to all scores of a row, which softmax ignores: its gradient is
exactly zero.

Locality self-attention (Lee et al. 2021, arXiv:2112.13492) changes two things, each of them an option:

Temperature  the factor of q is learned, one number for each head, and starts at 1/sqrt(K):
             scaled_q  = scale q,      scores = scaled_q k^T                 (MHA.11)
             dscaled_q = dscores k,    dq = scale dscaled_q,
             dscale    = sum(dscaled_q * q) over batch, tokens and K         (MHA.12)
Mask         no token looks at itself: its own score is left out of the softmax  (MHA.13)

The sum in MHA.12 is over all that the one factor of a head is multiplied with. The paper speaks of a temperature, which
divides the scores; `scale` is one over it, as in its released code. MHA.13 asks for nothing in the backward: where a
weight is exactly zero, SM.2 makes the gradient of its score exactly zero.

Shapes     x, y, dx, dy (B, N, D); q, k, v, mixed (B, H, N, K); scores, weights (B, H, N, N); K = D / H
           W_qkv (D, 3D) with columns ordered (3, H, K), b_qkv (3D,); W_out (D, D), b_out (D,); scale (H,) if learned
Cache      q (already scaled), k, v, weights for MHA.7 and MHA.9, and the caches of the layers inside; q as it was
           before, if the scale is learned
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params
from model.layers.dense import Dense, DenseCache
from model.layers.dropout import Dropout, DropoutCache
from model.layers.softmax import Softmax, SoftmaxCache
from model.precision import narrow, wide, wide_product

MASKED = -1e30
"""The score of a pair that is left out: exp makes exactly 0 of it. It is finite for the sake of complex numbers."""


class MultiHeadAttentionCache(NamedTuple):
    qkv: DenseCache  # x (B, N, D)
    q: jax.Array  # (B, H, N, K), divided by sqrt(K), for dk
    k: jax.Array  # (B, H, N, K), for dq
    v: jax.Array  # (B, H, N, K), for dweights
    softmax: SoftmaxCache  # weights before dropout (B, H, N, N)
    dropout: DropoutCache  # mask (B, H, N, N) or None
    weights: jax.Array  # (B, H, N, N) after dropout, for dv
    out: DenseCache  # merged heads (B, N, D)
    unscaled_q: jax.Array | None  # (B, H, N, K), for dscale; None where the scale is not learned


@dataclass(frozen=True)
class MultiHeadAttention:
    """Self-attention with `heads` heads over tokens of width `d_model`.

    One product makes queries, keys and values of all heads: one large product is faster than three small ones.
    `dropout` is the rate on the attention weights; `qkv_bias=False` leaves the bias of the three projections out.
    `learned_temperature` makes the factor of the scores a parameter `scale`, one number for each head;
    `masked_diagonal` keeps each token from looking at itself.

    Raises:
        ValueError: `heads` does not divide `d_model`; or a masked diagonal leaves a lone token nothing to look at.
    """

    d_model: int
    heads: int
    dropout: float = 0.0
    qkv_bias: bool = True
    learned_temperature: bool = False
    masked_diagonal: bool = False

    def __post_init__(self) -> None:
        if self.heads < 1 or self.d_model % self.heads:
            raise ValueError(f"heads must divide d_model: {self.heads} heads do not divide d_model {self.d_model}")

    @property
    def scale(self) -> float:
        return 1 / math.sqrt(self.d_model // self.heads)

    @property
    def qkv(self) -> Dense:
        return Dense(self.d_model, 3 * self.d_model, bias=self.qkv_bias)

    @property
    def out(self) -> Dense:
        return Dense(self.d_model, self.d_model)

    def init(self, key: jax.Array) -> Params:
        qkv_key, out_key = jax.random.split(key)
        params: Params = {"qkv": self.qkv.init(qkv_key), "out": self.out.init(out_key)}
        if self.learned_temperature:
            params["scale"] = jnp.full(self.heads, self.scale, dtype=float)
        return params

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, MultiHeadAttentionCache]:
        q, k, v, qkv_cache = self.project(params["qkv"], x)  # MHA.1
        unscaled_q = q if self.learned_temperature else None
        q = q * self._scale(params, q)  # here, not on the scores: q is the smaller array
        scores = wide_product(q, k.swapaxes(-1, -2))  # MHA.2, MHA.11
        if self.masked_diagonal:
            scores = _without_diagonal(scores)  # MHA.13
        probabilities, softmax_cache = Softmax().forward({}, scores)
        weights, dropout_cache = Dropout(self.dropout).forward({}, probabilities, key)  # MHA.3
        weights = narrow(weights, v)
        mixed = weights @ v  # MHA.4
        y, out_cache = self.out.forward(params["out"], self._merge_heads(mixed))  # MHA.5
        cache = MultiHeadAttentionCache(
            qkv_cache, q, k, v, softmax_cache, dropout_cache, weights, out_cache, unscaled_q
        )
        return y, cache

    def backward(self, params: Params, cache: MultiHeadAttentionCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dmerged, dout = self.out.backward(params["out"], cache.out, dy)
        dmixed = self._split_heads(dmerged)  # MHA.6
        dweights = wide_product(dmixed, cache.v.swapaxes(-1, -2))
        dv = cache.weights.swapaxes(-1, -2) @ dmixed  # MHA.7
        dprobabilities, _ = Dropout(self.dropout).backward({}, cache.dropout, dweights)
        dscores, _ = Softmax().backward({}, cache.softmax, dprobabilities)  # MHA.8
        dscores = narrow(dscores, dy)
        dscaled_q = dscores @ cache.k
        dq = dscaled_q * self._scale(params, dscaled_q)
        dk = dscores.swapaxes(-1, -2) @ cache.q  # MHA.9: cache.q carries the scale already
        dx, dqkv = self.project_backward(params["qkv"], cache.qkv, dq, dk, dv)  # MHA.10
        grads: Params = {"qkv": dqkv, "out": dout}
        if cache.unscaled_q is not None:
            grads["scale"] = (wide(dscaled_q) * cache.unscaled_q).sum(axis=(0, 2, 3))  # MHA.12
        return dx, grads

    def project(self, params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, DenseCache]:
        """Queries, keys and values, (B, H, N, K) each."""
        qkv, cache = self.qkv.forward(params, x)
        return *self._split_qkv(qkv), cache

    def project_backward(
        self, params: Params, cache: DenseCache, dq: jax.Array, dk: jax.Array, dv: jax.Array
    ) -> tuple[jax.Array, Params]:
        """The gradients of x and of the projections' parameters."""
        return self.qkv.backward(params, cache, self._merge_qkv(dq, dk, dv))

    def _scale(self, params: Params, q: jax.Array) -> jax.Array | float:
        """What q is multiplied by: one number, or (H, 1, 1) if it is learned."""
        return narrow(params["scale"], q)[:, None, None] if self.learned_temperature else self.scale

    # The four reshapes below only move numbers; each pair undoes the other in reverse order.

    def _split_heads(self, merged: jax.Array) -> jax.Array:
        B, N, D = merged.shape
        heads = merged.reshape(B, N, self.heads, D // self.heads)
        return heads.transpose(0, 2, 1, 3)  # (B, N, H, K) -> (B, H, N, K)

    def _merge_heads(self, heads: jax.Array) -> jax.Array:
        B, H, N, K = heads.shape
        return heads.transpose(0, 2, 1, 3).reshape(B, N, H * K)  # (B, H, N, K) -> (B, N, H, K) -> (B, N, D)

    def _split_qkv(self, qkv: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        B, N, _ = qkv.shape
        parts = qkv.reshape(B, N, 3, self.heads, self.d_model // self.heads)
        q, k, v = parts.transpose(2, 0, 3, 1, 4)  # (B, N, 3, H, K) -> (3, B, H, N, K)
        return q, k, v

    def _merge_qkv(self, dq: jax.Array, dk: jax.Array, dv: jax.Array) -> jax.Array:
        B, H, N, K = dq.shape
        parts = jnp.stack([dq, dk, dv])  # (3, B, H, N, K)
        return parts.transpose(1, 3, 0, 2, 4).reshape(B, N, 3 * H * K)  # -> (B, N, 3, H, K) -> (B, N, 3D)


def _without_diagonal(scores: jax.Array) -> jax.Array:
    """The scores, but for those by which a token looks at itself. Row i is token i; there may be but the first row."""
    rows, columns = scores.shape[-2:]
    if columns < 2:
        raise ValueError("masked_diagonal leaves a lone token nothing to look at: it needs 2 tokens or more")
    return jnp.where(jnp.eye(rows, columns, dtype=bool), MASKED, scores)
