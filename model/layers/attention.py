"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762): for each query a mixture of the values,
weighted by how well their keys match the query.

Forward    scores  = (q / sqrt(K)) k^T                                       (MHA.2)
           weights = softmax of each row of scores; then dropout, in training  (MHA.3)
           mixed   = weights v                                               (MHA.4)
Backward   dweights = dmixed v^T,     dv = weights^T dmixed                  (MHA.7)
           dp       = dropout backward of dweights, dscores = softmax backward of dp  (MHA.8)
           dq = dscores k / sqrt(K),  dk = dscores^T (q / sqrt(K))           (MHA.9)

MHA.7 and MHA.9 are the rule for a matrix product: for Z = A B, dA = dZ B^T and dB = A^T dZ. Without the division
by sqrt(K) the scores of random q and k would have variance K, and the softmax would start out saturated, where its
gradient vanishes. MHA.1, MHA.5, MHA.6 and MHA.10 are the projections around it: model/layers/multi_head_attention.py.

Locality self-attention (Lee et al. 2021, arXiv:2112.13492) makes two changes; here each is an option:

Temperature  the factor of q is learned, one number for each head, and starts at 1/sqrt(K):
             scaled_q  = scale q,      scores = scaled_q k^T                 (MHA.11)
             dscaled_q = dscores k,    dq = scale dscaled_q,
             dscale    = sum(dscaled_q * q) over batch, tokens and K         (MHA.12)
Mask         no token attends to itself: its own score is left out of the softmax  (MHA.13)

The sum in MHA.12 runs over everything that a head's scale multiplies. The paper speaks of a temperature, which divides
the scores; `scale` is its inverse, as in the released code. MHA.13 needs no backward rule: where a weight is exactly
zero, SM.2 makes the gradient of its score exactly zero.

Padding: a GPU multiplies matrices fastest whose sides are multiples of 8, and 64 patches with a class token are 65
tokens. `pad_to_multiple_of` appends tokens that are zero. A mask like that of MHA.13 keeps all others from attending to
them; what they themselves attend to is cut off at the end, so the gradient of it is zero. Nothing else is left to
derive: the output and the gradients of the given tokens are what they would be without padding.

Shapes     q, k, v, mixed (B, H, N, K); scores, weights (B, H, N, N); scale (H,). There may be fewer queries than keys:
           then q and mixed (B, H, n, K), scores and weights (B, H, n, N)
Cache      scaled_q, k, v, weights for MHA.7 and MHA.9, what softmax and dropout keep, and for MHA.12 q and scale
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Layer, Params, require_sizes
from model.layers.dense import Dense
from model.layers.dropout import Dropout, DropoutCache
from model.layers.softmax import Softmax, SoftmaxCache

SOFTMAX = Softmax()
MASKED = -1e30
"""The score of a pair that is left out: exp turns it into exactly 0. It is finite, as complex infinities give NaN."""


class AttentionCache(NamedTuple):
    scaled_q: jax.Array  # (B, H, N, K), for dk
    k: jax.Array  # (B, H, N, K), for dq
    v: jax.Array  # (B, H, N, K), for dweights
    softmax: SoftmaxCache  # weights before dropout (B, H, N, N)
    dropout: DropoutCache  # mask (B, H, N, N) or None
    weights: jax.Array  # (B, H, N, N) after dropout, for dv
    q: jax.Array | None  # (B, H, N, K), for dscale; None if the scale is not learned
    scale: jax.Array | None  # (H,), for dq; None if it is not learned


@dataclass(frozen=True)
class ScaledDotProductAttention:
    """`mixed, cache = attention.forward(q, k, v)`; `dq, dk, dv, dscale = attention.backward(cache, dmixed)`.

    `dropout` is the rate on the attention weights; `masked_diagonal` keeps each token from attending to itself;
    `softmax` turns scores into weights; with `pad_to_multiple_of` the arrays of the cache have that many tokens, and
    dropout draws other random numbers.

    Raises:
        ValueError: `dropout` is not in [0, 1), `pad_to_multiple_of` is below 1, or `masked_diagonal` with a single
            token, which would have nothing to attend to.
    """

    dropout: float = 0.0
    masked_diagonal: bool = False
    softmax: Layer = SOFTMAX
    pad_to_multiple_of: int = 1

    def __post_init__(self) -> None:
        Dropout(self.dropout)  # checks the rate
        if self.pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of must be at least 1, got {self.pad_to_multiple_of}")

    def forward(
        self, q: jax.Array, k: jax.Array, v: jax.Array, scale: jax.Array | None = None, key: jax.Array | None = None
    ) -> tuple[jax.Array, AttentionCache]:
        """`scale` (H,) is the learned factor of the scores; None: the factor is 1/sqrt(K)."""
        tokens = k.shape[-2]
        if q.shape[-2] == tokens > 1:  # a single query would gain nothing
            q, k, v = (_with_tokens(x, -tokens % self.pad_to_multiple_of) for x in (q, k, v))
        scaled_q = q * _factor(q, scale)  # (B, H, N, K); not applied to the scores, which are larger
        scores = scaled_q @ k.swapaxes(-1, -2)  # (B, H, N, N)  MHA.2, MHA.11
        if self.masked_diagonal:
            scores = _without_diagonal(scores)  # MHA.13
        if k.shape[-2] > tokens:
            scores = jnp.where(jnp.arange(k.shape[-2]) < tokens, scores, MASKED)  # nobody attends to what was added
        p, softmax_cache = self.softmax.forward({}, scores)
        weights, dropout_cache = Dropout(self.dropout).forward({}, p, key)  # (B, H, N, N)  MHA.3
        mixed = weights @ v  # (B, H, N, K)  MHA.4
        kept_q = None if scale is None else q
        cache = AttentionCache(scaled_q, k, v, softmax_cache, dropout_cache, weights, kept_q, scale)
        return mixed[..., :tokens, :], cache

    def backward(
        self, cache: AttentionCache, dmixed: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        """The gradients of q, k, v and the scale; that of the scale is None if it is not learned."""
        added = cache.scaled_q.shape[-2] - dmixed.shape[-2]
        dmixed = _with_tokens(dmixed, added)
        dweights = dmixed @ cache.v.swapaxes(-1, -2)  # (B, H, N, N)
        dv = cache.weights.swapaxes(-1, -2) @ dmixed  # (B, H, N, K)  MHA.7
        dp, _ = Dropout(self.dropout).backward({}, cache.dropout, dweights)
        dscores, _ = self.softmax.backward({}, cache.softmax, dp)  # (B, H, N, N)  MHA.8
        dscaled_q = dscores @ cache.k  # (B, H, N, K)
        dk = dscores.swapaxes(-1, -2) @ cache.scaled_q  # (B, H, N, K)
        dq = dscaled_q * _factor(dscaled_q, cache.scale)  # (B, H, N, K)  MHA.9
        dscale = None if cache.q is None else (dscaled_q * cache.q).sum(axis=(0, 2, 3))  # (H,)  MHA.12
        dq, dk, dv = (_with_tokens(dx, -added) for dx in (dq, dk, dv))
        return dq, dk, dv, dscale


def _with_tokens(x: jax.Array, more: int) -> jax.Array:
    """(..., N, K) -> (..., N + more, K): tokens appended that are zero, or, if `more` is negative, cut off again."""
    if not more:
        return x
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, more if axis == x.ndim - 2 else 0, 0) for axis in range(x.ndim)])


def _factor(q: jax.Array, scale: jax.Array | None) -> jax.Array | float:
    """The factor of q: one number, or (H, 1, 1) if it is learned."""
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale[:, None, None]


def _without_diagonal(scores: jax.Array) -> jax.Array:
    """The scores, with MASKED where a token looks at itself. Row i is token i; a single row is that of token 0."""
    rows, columns = scores.shape[-2:]
    if columns < 2:
        raise ValueError("masked_diagonal needs 2 tokens or more: a single token has no other to attend to")
    return jnp.where(jnp.eye(rows, columns, dtype=bool), MASKED, scores)


def split_heads(merged: jax.Array, heads: int) -> jax.Array:
    """Split each token into heads. `merge_heads` is the inverse, so each is the backward of the other."""
    B, N, D = merged.shape
    return merged.reshape(B, N, heads, D // heads).transpose(0, 2, 1, 3)  # (B, N, D) -> (B, N, H, K) -> (B, H, N, K)


def merge_heads(heads: jax.Array) -> jax.Array:
    """Concatenate the heads of each token: the inverse of `split_heads`."""
    B, H, N, K = heads.shape
    return heads.transpose(0, 2, 1, 3).reshape(B, N, H * K)  # (B, H, N, K) -> (B, N, H, K) -> (B, N, D)


@dataclass(frozen=True)
class ProjectedAttention:
    """Base class of the model's two attentions: they share sizes, parts and parameters, not forward and backward.

    `dropout` is the rate on the attention weights; `qkv_bias=False` omits the biases of queries, keys and values.
    `learned_temperature` makes the factor of the scores a parameter `scale`, one number per head;
    `masked_diagonal` keeps each token from attending to itself; `softmax` turns scores into weights;
    `pad_to_multiple_of` is the number of tokens that the attention computes with, for speed.

    Raises:
        ValueError: `heads` does not divide `d_model`, a rate is not in [0, 1), or `masked_diagonal` with a single
            token.
    """

    d_model: int
    heads: int
    dropout: float = 0.0
    qkv_bias: bool = True
    learned_temperature: bool = False
    masked_diagonal: bool = False
    softmax: Layer = SOFTMAX
    pad_to_multiple_of: int = 1

    def __post_init__(self) -> None:
        require_sizes(self, "d_model")
        if self.heads < 1 or self.d_model % self.heads:
            raise ValueError(f"heads must divide d_model: {self.heads} heads do not divide d_model {self.d_model}")
        _ = self.attention  # checks the other options

    @property
    def qkv(self) -> Dense:
        return Dense(self.d_model, 3 * self.d_model, bias=self.qkv_bias)

    @property
    def attention(self) -> ScaledDotProductAttention:
        return ScaledDotProductAttention(self.dropout, self.masked_diagonal, self.softmax, self.pad_to_multiple_of)

    @property
    def out(self) -> Dense:
        return Dense(self.d_model, self.d_model)

    def init(self, key: jax.Array) -> Params:
        qkv_key, out_key = jax.random.split(key)
        params: Params = {"qkv": self.qkv.init(qkv_key), "out": self.out.init(out_key)}
        if self.learned_temperature:
            params["scale"] = jnp.full(self.heads, 1 / math.sqrt(self.d_model // self.heads), dtype=float)
        return params
