"""What the checks have to know about the insides of a layer: the classes in it, and the thirds of a qkv projection."""

from typing import Any

from model.combinators import Composite, Residual, Sequential
from model.layers.attention import ProjectedAttention, ScaledDotProductAttention
from model.layers.dropout import Dropout
from model.mae import MAE
from verify.case import Region, Tensors

QKV = ("queries", "keys", "values")


def classes_inside(layer: Any) -> frozenset[str]:
    """The names of the layer's class, its base classes, and those of all layers inside it."""
    names = {kind.__name__ for kind in type(layer).__mro__[:-1]}
    return frozenset(names.union(*(classes_inside(inner) for inner in _parts(layer))))


def _parts(layer: Any) -> tuple[Any, ...]:
    """What the backward of `layer` calls. Unlike `model.walk.children` this includes the combinators themselves."""
    if isinstance(layer, Composite | Residual):
        return (layer.body,)
    if isinstance(layer, Sequential):
        return tuple(inner for _, inner in layer.layers)
    if isinstance(layer, ProjectedAttention):
        return (layer.qkv, layer.attention, layer.out)
    if isinstance(layer, MAE):
        return (layer.embedding, layer.hide, layer.encoder, layer.embed, layer.restore, layer.decoder)
    if isinstance(layer, ScaledDotProductAttention):
        return (layer.softmax, Dropout(layer.dropout))
    return ()


def qkv_regions(tensors: Tensors) -> dict[str, tuple[tuple[str, Region], ...]]:
    """The queries', keys' and values' thirds of every `qkv` projection: only the keys' bias has a zero gradient."""
    found = {}
    for name, array in tensors.items():
        if name.endswith(("qkv/W", "qkv/b")) and array.shape[-1] % 3 == 0:
            D = array.shape[-1] // 3
            rest = (slice(None),) * (array.ndim - 1)
            found[name] = tuple((part, (*rest, slice(i * D, (i + 1) * D))) for i, part in enumerate(QKV))
    return found
