"""What a model is made of and what each layer costs: the table of `--summary`."""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer
from model.layers.patch_embedding import height_width
from model.vit import ViT

Shape = tuple[int, ...]


class Row(NamedTuple):
    """A layer with what is inside it counted in; for one image."""

    depth: int  # 0: the whole model
    name: str
    kind: str
    output_shape: Shape  # without the batch
    parameters: int
    flops: int  # floating-point operations of the forward pass, a multiplication and an addition one each


class _Cost(NamedTuple):
    output: Shape
    parameters: int
    flops: int


def summarize(model: ViT, depth: int = 99) -> list[Row]:
    """The model and the layers inside it, down to `depth` levels, in the order of the forward pass."""
    image = (1, *height_width(model.image_size), model.channels)
    return list(_rows("model", model, image, 0, depth))


def format_summary(rows: list[Row]) -> str:
    """The rows as a table of text."""
    cells = [("layer", "kind", "output shape", "parameters", "MFLOPs")]
    for row in rows:
        shape = "(" + ", ".join(map(str, ("B", *row.output_shape))) + ")"
        cells.append(("  " * row.depth + row.name, row.kind, shape, f"{row.parameters:,}", f"{row.flops / 1e6:,.2f}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [f"{{:<{width}}}" if column < 3 else f"{{:>{width}}}" for column, width in enumerate(widths)]
    lines = ["  ".join(aligned).format(*line) for line in cells]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def _rows(name: str, layer: Layer, shape: Shape, level: int, depth: int) -> Iterator[Row]:
    cost = _cost(layer, shape)
    yield Row(level, name, type(layer).__name__, cost.output[1:], cost.parameters, cost.flops)
    if level == depth:
        return
    inner = layer
    while isinstance(inner, Composite | Residual):  # neither changes the shape that its body sees
        inner = inner.body
    if isinstance(inner, Sequential):
        for child_name, child in inner.layers:
            yield from _rows(child_name, child, shape, level + 1, depth)
            shape = _cost(child, shape).output


@cache
def _cost(layer: Layer, shape: Shape) -> _Cost:
    """Asked of the layer itself, by tracing it without computing: a table of formulas could drift from the code."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    lowered = jax.jit(lambda params, x: layer.forward(params, x)[0]).lower(params, x)
    (y,) = jax.tree.leaves(lowered.out_info)
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return _Cost(y.shape, parameters, int((lowered.cost_analysis() or {}).get("flops", 0)))
