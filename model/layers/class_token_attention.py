"""Self-attention that computes the output of the class token alone, for the last block of a classifier.

The head reads the class token alone, so only token 0 of the last block's output is used. For that, the last attention
needs the query of the class token, and the keys and values of all tokens. Nothing else is computed, and what is not
computed has no gradient. The output is that of model/layers/multi_head_attention.py at token 0. The differences:

Forward    q       = the class token's query, x[:, 0] W_q + b_q;  k, v of all tokens as in MHA.1    (CTA.1)
           scores, weights, mixed, y as in MHA.2 to MHA.5, with one row instead of N                (CTA.2)
Backward   dscores and dq of every other token would be zero in MHA.8 and MHA.9: not computed.
           dk, dv as there, from one row: an outer product for each head                            (CTA.3)
           dx      = (dk, dv) (W_k, W_v)^T, plus dq W_q^T at the class token                        (CTA.4)
           dW_qkv  = (x[:, 0]^T dq | x^T (dk, dv)),  db_qkv = sums of dq, dk, dv                    (CTA.5)

A learned temperature or a masked diagonal (MHA.11 to MHA.13) adds nothing new: `dscale` sums over the single row, and
the diagonal of that row, which belongs to token 0, is its first column.

This saves about five sixths of the operations of a block: the queries, the output projection and the feed-forward of
N - 1 of N tokens. No compiler finds that. Whoever derives the gradient knows that the other rows of dy are zero; to a
compiler they are numbers like any other.

Shapes     x, dx (B, N, D); y, dy (B, 1, D); q (B, H, 1, K); k, v (B, H, N, K); scores, weights (B, H, 1, N)
           parameters as in MultiHeadAttention
Cache      those of the parts; the query's gradient takes x[:, :1] from the cache of the keys and values
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params
from model.layers.attention import AttentionCache, ProjectedAttention, merge_heads, split_heads
from model.layers.dense import Dense, DenseCache


class ClassTokenAttentionCache(NamedTuple):
    key_value: DenseCache  # x (B, N, D)
    attention: AttentionCache  # q (B, H, 1, K), k and v (B, H, N, K), weights (B, H, 1, N)
    out: DenseCache  # merged heads (B, 1, D)


@dataclass(frozen=True)
class ClassTokenAttention(ProjectedAttention):
    """The output of `MultiHeadAttention` at token 0 alone, (B, N, D) -> (B, 1, D), with the same parameters."""

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, ClassTokenAttentionCache]:
        query, key_value = self._split_params(params["qkv"])
        q, _ = self._query.forward(query, x[:, :1])
        kv, key_value_cache = self._key_value.forward(key_value, x)
        q, k, v = (split_heads(part, self.heads) for part in (q, *jnp.split(kv, 2, axis=-1)))  # CTA.1
        mixed, attention_cache = self.attention.forward(q, k, v, params.get("scale"), key)
        y, out_cache = self.out.forward(params["out"], merge_heads(mixed))  # CTA.2
        return y, ClassTokenAttentionCache(key_value_cache, attention_cache, out_cache)

    def backward(self, params: Params, cache: ClassTokenAttentionCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        query, key_value = self._split_params(params["qkv"])
        dmerged, dout = self.out.backward(params["out"], cache.out, dy)
        dq, dk, dv, dscale = self.attention.backward(cache.attention, split_heads(dmerged, self.heads))  # CTA.3
        dkv = jnp.concatenate([merge_heads(dk), merge_heads(dv)], axis=-1)
        dx, dkey_value = self._key_value.backward(key_value, cache.key_value, dkv)
        dx_class, dquery = self._query.backward(query, DenseCache(cache.key_value.x[:, :1]), merge_heads(dq))
        dx = jnp.concatenate([dx[:, :1] + dx_class, dx[:, 1:]], axis=1)  # CTA.4
        dqkv = {name: jnp.concatenate([dquery[name], dkey_value[name]], axis=-1) for name in dquery}  # CTA.5
        grads: Params = {"qkv": dqkv, "out": dout}
        return dx, grads if dscale is None else {**grads, "scale": dscale}

    @property
    def _query(self) -> Dense:
        return Dense(self.d_model, self.d_model, bias=self.qkv_bias)

    @property
    def _key_value(self) -> Dense:
        return Dense(self.d_model, 2 * self.d_model, bias=self.qkv_bias)

    def _split_params(self, qkv: Params) -> tuple[Params, Params]:
        """The columns of W_qkv and b_qkv for the queries, and those for keys and values."""
        D = self.d_model
        return {n: a[..., :D] for n, a in qkv.items()}, {n: a[..., D:] for n, a in qkv.items()}
