"""A post-norm encoder block (Vaswani et al. 2017, arXiv:1706.03762).

Forward    h = norm_1(x + attention(x))
           y = norm_2(h + feed_forward(h))

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
    attention: Any
    norm_1: Any
    feed_forward: Any
    norm_2: Any


def forward(x, params):
    """x (B, N, D), params {name: parameters of the layer} -> y (B, N, D) and the cache."""
    a, attention_cache = attention.forward(params["attention"], x)
    h, norm_1_cache = norm_1.forward(params["norm_1"], x + a)
    f, feed_forward_cache = feed_forward.forward(params["feed_forward"], h)
    y, norm_2_cache = norm_2.forward(params["norm_2"], h + f)
    return y, Cache(params, attention_cache, norm_1_cache, feed_forward_cache, norm_2_cache)


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dparams {name: gradients of the layer}."""
    raise NotImplementedError  # yours to write
