"""What a layer is made of: the layers inside, and the parts of its tensors that have a meaning of their own."""

from collections.abc import Generator, Iterator
from typing import Any

import jax

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer, Params
from model.layers.attention import ProjectedAttention, ScaledDotProductAttention
from model.layers.dropout import Dropout
from verify.case import Region

ATTENTION = ("queries", "keys", "values")


def contained(layer: Any) -> frozenset[str]:
    """The classes of the layer, with what they are derived from, and of all layers inside it."""
    names = {kind.__name__ for kind in type(layer).__mro__[:-1]}
    for inner in _inside(layer):
        names |= contained(inner)
    return frozenset(names)


def _inside(layer: Any) -> tuple[Any, ...]:
    if isinstance(layer, Sequential):
        return tuple(inner for _, inner in layer.layers)
    if isinstance(layer, Composite | Residual):
        return (layer.body,)
    if isinstance(layer, ProjectedAttention):
        return (layer.attention, layer.qkv, layer.out)
    if isinstance(layer, ScaledDotProductAttention):
        return (layer.softmax, Dropout(layer.dropout))
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


def working_layers(
    layer: Any, params: Params, x: jax.Array, key: Any = None, path: str = ""
) -> Generator[tuple[str, Layer, Params, jax.Array, Any], None, jax.Array]:
    """Run `layer` and yield each layer inside that is no mere composition: path, layer, parameters, input, key.

    The generator returns the output.
    """
    if isinstance(layer, Composite):
        return (yield from working_layers(layer.body, params, x, key, path))
    if isinstance(layer, Residual):
        return layer.skip(x) + (yield from working_layers(layer.body, params, x, key, path))
    if isinstance(layer, Sequential):
        for name, inner, inner_key in named_keys(layer, key):
            x = yield from working_layers(inner, params[name], x, inner_key, f"{path}/{name}" if path else name)
        return x
    yield path, layer, params, x, key
    y, _ = layer.forward(params, x, key)
    return y


def layers_of(layer: Any, path: str = "") -> Iterator[tuple[str, Layer]]:
    """The path of each layer inside that is no mere composition, and the layer; as `working_layers` yields them."""
    if isinstance(layer, Composite | Residual):
        yield from layers_of(layer.body, path)
    elif isinstance(layer, Sequential):
        for name, inner in layer.layers:
            yield from layers_of(inner, f"{path}/{name}" if path else name)
    else:
        yield path, layer


def named_keys(layer: Sequential, key: Any) -> list[tuple[str, Layer, Any]]:
    """The layers of a sequence with the keys that its forward hands them."""
    keys = [None] * len(layer.layers) if key is None else list(jax.random.split(key, len(layer.layers)))
    return [(name, inner, inner_key) for (name, inner), inner_key in zip(layer.layers, keys, strict=True)]
