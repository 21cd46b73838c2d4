"""Walking through a composed layer: the layers inside it, and the activations that reach them.

The path of a layer is that of its parameters, for example `encoder/block_0/attention/norm`; the layer that the walk
starts from has the empty path. A layer comes before those inside it; otherwise the order is that of the forward pass.
"""

from collections.abc import Generator, Iterator
from typing import NamedTuple

import jax

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer, Params


class Activation(NamedTuple):
    """What a layer is given in a forward pass."""

    path: str
    layer: Layer
    params: Params
    x: jax.Array  # the input
    key: jax.Array | None  # None in evaluation


def children(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    """The named layers that `layer` is composed of; none if it is a leaf, which computes by itself."""
    if isinstance(layer, Composite | Residual):
        return children(layer.body)
    return layer.layers if isinstance(layer, Sequential) else ()


def walk(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """`layer` and every layer inside it, each with its path."""
    yield path, layer
    for name, inner in children(layer):
        yield from walk(inner, _join(path, name))


def leaves(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """The leaves, that is the layers that compute by themselves, each with its path."""
    return ((path, inner) for path, inner in walk(layer) if not children(inner))


def activations(
    layer: Layer, params: Params, x: jax.Array, key: jax.Array | None = None, path: str = ""
) -> Generator[Activation, None, jax.Array]:
    """Run `layer` forward and yield what reaches it and every layer inside it, in the order of `walk`.

    The generator returns the output (the value of `yield from`).
    """
    yield Activation(path, layer, params, x, key)
    if children(layer):
        return (yield from _inside(layer, params, x, key, path))
    y, _ = layer.forward(params, x, key)
    return y


def _inside(
    layer: Layer, params: Params, x: jax.Array, key: jax.Array | None, path: str
) -> Generator[Activation, None, jax.Array]:
    if isinstance(layer, Composite):
        return (yield from _inside(layer.body, params, x, key, path))
    if isinstance(layer, Residual):
        return layer.skip(x) + (yield from _inside(layer.body, params, x, key, path))
    assert isinstance(layer, Sequential)
    for (name, inner), inner_key in zip(layer.layers, layer.keys(key), strict=True):
        x = yield from activations(inner, params[name], x, inner_key, _join(path, name))
    return x


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
