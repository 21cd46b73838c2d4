"""A pre-norm encoder block (Xiong et al. 2020, arXiv:2002.04745).

Forward    h = x + attention(norm_1(x))
           y = h + feed_forward(norm_2(h))

The layers are given, including their backward: `dx, grads = layer.backward(params, cache, dy)`.
"""

from typing import Any, NamedTuple

from model.layers.feed_forward import FeedForward
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention

D, HEADS, M = 12, 3, 7
norm_1, attention, norm_2, feed_forward = LayerNorm(D), MultiHeadAttention(D, HEADS), LayerNorm(D), FeedForward(D, M)


class Cache(NamedTuple):
    params: Any
    norm_1: Any
    attention: Any
    norm_2: Any
    feed_forward: Any


def forward(x, params):
    """x (B, N, D), params {name: parameters of the layer} -> y (B, N, D) and the cache."""
    a, norm_1_cache = norm_1.forward(params["norm_1"], x)
    a, attention_cache = attention.forward(params["attention"], a)
    h = x + a
    f, norm_2_cache = norm_2.forward(params["norm_2"], h)
    f, feed_forward_cache = feed_forward.forward(params["feed_forward"], f)
    return h + f, Cache(params, norm_1_cache, attention_cache, norm_2_cache, feed_forward_cache)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dparams {name: gradients of the layer}."""
    raise NotImplementedError  # yours to write
