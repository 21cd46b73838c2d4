"""All the plumbing of the model: three ways to build a layer from other layers.

Sequential   y = f_n(... f_2(f_1(x)))       dx: walk the layers in reverse; each turns dy, the gradient of its
                                            output, into dx, which is the dy of the layer before it       (SEQ.1)
Residual     y = x + f(x)                   dx = dy + f.backward(dy): x is used twice, so the gradients of
                                            the two uses add                                              (RES.1)
             y = x[:, :tokens] + f(x)       the same, with dy added at these tokens only                  (RES.2)
Composite    y = body(x)                    a layer with a class of its own, whose body is built from others
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from model.draws import split_key
from model.layer import Layer, Params


@dataclass(frozen=True)
class Sequential:
    """Named layers, one after another: `Sequential((("norm", LayerNorm(D)), ("head", Dense(D, C))))`.

    `params` and `grads` are dictionaries with these names as keys; the cache is a tuple of the layers' caches.
    A layer without parameters has the entry `{}`. In training each layer gets a PRNG key of its own.

    Raises:
        ValueError: two layers have the same name.
    """

    layers: tuple[tuple[str, Layer], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"Sequential: every layer needs a name of its own, got {names}")

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key, len(self.layers))
        return {name: layer.init(key) for (name, layer), key in zip(self.layers, keys, strict=True)}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        caches = []
        for (name, layer), layer_key in zip(self.layers, self.keys(key), strict=True):
            x, cache = layer.forward(params[name], x, layer_key)
            caches.append(cache)
        return x, tuple(caches)

    def keys(self, key: jax.Array | None) -> list[jax.Array | None]:
        """Split the key of `forward`, or of each image, into one per layer; in evaluation (None) each gets None."""
        return [None] * len(self.layers) if key is None else list(split_key(key, len(self.layers)))

    def backward(self, params: Params, cache: Any, dy: jax.Array) -> tuple[jax.Array, Params]:
        grads: Params = {}
        for (name, layer), layer_cache in zip(reversed(self.layers), reversed(cache), strict=True):
            dy, grads[name] = layer.backward(params[name], layer_cache, dy)  # SEQ.1
        return dy, {name: grads[name] for name, _ in self.layers}


@dataclass(frozen=True)
class Residual:
    """A skip connection around `body`, whose output must have the shape of its input.

    If the body returns only the first `tokens` tokens of its input (B, N, D), so does this layer.

    The `dy` that goes straight through is why deep stacks of such blocks train at all: however small the gradient
    through `body` becomes, the identity passes `dy` on undiminished.
    """

    body: Layer
    tokens: int | None = None

    def init(self, key: jax.Array) -> Params:
        return self.body.init(key)

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        y, cache = self.body.forward(params, x, key)
        return self.skip(x) + y, cache

    def skip(self, x: jax.Array) -> jax.Array:
        """The part of x that is added to the output of the body."""
        return x if self.tokens is None else x[:, : self.tokens]

    def backward(self, params: Params, cache: Any, dy: jax.Array) -> tuple[jax.Array, Params]:
        dx, grads = self.body.backward(params, cache, dy)
        if self.tokens is None:
            return dy + dx, grads  # RES.1
        return jnp.concatenate([dy + dx[:, : self.tokens], dx[:, self.tokens :]], axis=1), grads  # RES.2


class Composite:
    """Base class of a layer that is only a composition: a subclass defines `body`, the layer it consists of.

    Parameters, cache and gradients are those of the body, so a composite has no backward rule that could be wrong.
    """

    @property
    def body(self) -> Layer:
        raise TypeError(f"{type(self).__name__} must define `body`, the layer that it is made of")

    def init(self, key: jax.Array) -> Params:
        return self.body.init(key)

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        return self.body.forward(params, x, key)

    def backward(self, params: Params, cache: Any, dy: jax.Array) -> tuple[jax.Array, Params]:
        return self.body.backward(params, cache, dy)
