"""Layers one after another: the chain rule as a loop.

Forward    x_1 = f_1(x),  x_2 = f_2(x_1),  y = f_3(x_2), and each layer returns a cache of its own

The layers are given, including their backward: `dx, grads = layer.backward(params, cache, dy)`.
"""

from typing import Any, NamedTuple

from model.layers.dense import Dense
from model.layers.layer_norm import LayerNorm

D = 12
LAYERS = (("first", Dense(D, D)), ("norm", LayerNorm(D)), ("last", Dense(D, D)))


class Cache(NamedTuple):
    params: Any  # the parameters of all layers
    caches: Any  # one per layer, in the order of LAYERS


def forward(x, params):
    """x (B, N, D), params {name: parameters of the layer} -> y (B, N, D) and the cache."""
    caches = []
    for name, layer in LAYERS:
        x, cache = layer.forward(params[name], x)
        caches.append(cache)
    return x, Cache(params, tuple(caches))


def backward(cache, dy):
    """dy (B, N, D) -> dx (B, N, D), dparams {name: gradients of the layer}."""
    raise NotImplementedError  # yours to write
