"""What a layer is made of: the layers inside, and the parts of its tensors that have a meaning of their own."""

from collections.abc import Iterator
from typing import Any

import jax

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer, Params
from model.layers.dropout import Dropout
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.softmax import Softmax
from verify.case import Region

ATTENTION = ("queries", "keys", "values")


def contained(layer: Any) -> frozenset[str]:
    """The classes of the layer and of all layers inside it."""
    names = {type(layer).__name__}
    for inner in _inside(layer):
        names |= contained(inner)
    return frozenset(names)


def _inside(layer: Any) -> tuple[Any, ...]:
    if isinstance(layer, Sequential):
        return tuple(inner for _, inner in layer.layers)
    if isinstance(layer, Composite | Residual):
        return (layer.body,)
    if isinstance(layer, MultiHeadAttention):
        return (layer.qkv, layer.out, Softmax(), Dropout(layer.dropout))
    return ()


def regions(tensors: dict[str, Any]) -> dict[str, tuple[tuple[str, Region], ...]]:
    """Queries, keys and values of every `qkv` projection: three in one, of which the keys' bias alone is idle."""
    found = {}
    for name, array in tensors.items():
        if name.endswith(("qkv/W", "qkv/b")) and array.shape[-1] % 3 == 0:
            D = array.shape[-1] // 3
            rest = (slice(None),) * (array.ndim - 1)
            found[name] = tuple((part, (*rest, slice(i * D, (i + 1) * D))) for i, part in enumerate(ATTENTION))
    return found


def leaves_of(
    layer: Layer, params: Params, x: jax.Array, key: jax.Array | None = None, path: str = ""
) -> Iterator[tuple[str, Layer, Params, jax.Array]]:
    """Run `layer` and yield each layer inside that is no mere composition: its path, itself, its parameters, its input.

    The last thing yielded has the path `""` where the composition ends, with the output as its input; see `flow`.
    """
    y = yield from flow(layer, params, x, key, path)
    del y


def flow(layer: Any, params: Params, x: jax.Array, key: Any, path: str = "") -> Any:
    """A generator of the layers that do the work, in the order in which they run; returns the output."""
    if isinstance(layer, Composite):
        return (yield from flow(layer.body, params, x, key, path))
    if isinstance(layer, Residual):
        return x + (yield from flow(layer.body, params, x, key, path))
    if isinstance(layer, Sequential):
        keys = [None] * len(layer.layers) if key is None else jax.random.split(key, len(layer.layers))
        for (name, inner), inner_key in zip(layer.layers, keys, strict=True):
            x = yield from flow(inner, params[name], x, inner_key, f"{path}/{name}" if path else name)
        return x
    yield path, layer, params, x
    y, _ = layer.forward(params, x, key)
    return y
