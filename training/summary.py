"""The layers of a model and the cost of each: the table of `--summary`."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.combinators import Sequential
from model.layer import Layer, Params, count_parameters
from model.layers.patch_embedding import height_width
from model.mae import MAE
from model.vit import ViT
from model.walk import activations, walk

Shape = tuple[int, ...]


class Row(NamedTuple):
    """A layer with everything inside it, for one image."""

    depth: int  # 0: the whole model
    name: str
    kind: str
    output_shape: Shape  # without the batch
    parameters: int
    flops: int  # floating-point operations of the forward pass; a multiplication and an addition count one each


class _Cost(NamedTuple):
    output: Shape
    parameters: int
    flops: int


def summarize(model: ViT | MAE, depth: int = 99) -> list[Row]:
    """The model and the layers inside it, down to `depth` levels, in the order of the forward pass.

    A model in half precision has the same table: its layers only stand between casts.
    """
    if isinstance(model, MAE):
        return _summarize_autoencoder(replace(model, vit=replace(model.vit, dtype="float32")), depth)
    model = replace(model, dtype="float32")
    return summarize_layer(model, (1, *height_width(model.image_size), model.channels), depth)


def summarize_layer(layer: Layer, shape: Shape, depth: int = 99) -> list[Row]:
    """The same for any layer, whose input has this shape, including a batch of one."""
    inputs = _input_shapes(layer, shape)
    return [_row(path, inner, inputs[path]) for path, inner in walk(layer) if _depth(path) <= depth]


def _summarize_autoencoder(model: MAE, depth: int) -> list[Row]:
    """The same of a masked autoencoder, whose encoder sees few of the tokens, and its decoder all."""
    N, E, vit = model.tokens, model.decoder_dim, model.vit
    seen = (1, model.hide.count(N), vit.d_model)
    images = (1, *height_width(vit.image_size), vit.channels)
    embed = summarize_layer(Sequential((("embed", model.embed),)), seen)
    decoder = summarize_layer(model.decoder, (1, N, E))
    restore = Row(
        1,
        "restore",
        "RestoreTokens",
        (N, E),
        count_parameters(jax.eval_shape(model.restore.init, jax.random.key(0))),
        0,
    )
    inner = [embed[1], restore, *decoder[1:]]
    own = [row for row in inner if row.depth == 1]
    whole = Row(0, "decoder", "Sequential", decoder[0].output_shape, *_sums(own))
    below = [
        row for part, shape in ((model.embedding, images), (model.encoder, seen)) for row in _inside_of(part, shape)
    ]
    rows = [*below, *(row._replace(depth=row.depth + 1) for row in (whole, *inner))]
    outer = [row for row in rows if row.depth == 1]
    output = (N - model.hide.first, model.patchify.patch_values)
    return [row for row in (Row(0, "model", "MAE", output, *_sums(outer)), *rows) if row.depth <= depth]


def _inside_of(layer: Layer, shape: Shape) -> list[Row]:
    return summarize_layer(layer, shape)[1:]


def _sums(rows: list[Row]) -> tuple[int, int]:
    return sum(row.parameters for row in rows), sum(row.flops for row in rows)


def format_summary(rows: list[Row], width: int = 80) -> str:
    """The rows as a table of text, written more closely where it would be wider than `width` columns."""
    for indent, unit, gap in ((2, "MFLOPs", 2), (1, "MFLOPs", 2), (1, "GFLOPs", 2), (1, "GFLOPs", 1)):
        lines = _table(rows, " " * indent, unit, " " * gap)
        if len(lines[0]) <= width:
            break
    return "\n".join(lines)


def _table(rows: list[Row], indent: str, unit: str, gap: str) -> list[str]:
    cells = [("layer", "kind", "output shape", "parameters", unit)]
    for row in rows:
        shape = "(" + ", ".join(map(str, ("B", *row.output_shape))) + ")"
        flops = row.flops / (1e6 if unit == "MFLOPs" else 1e9)
        cells.append((indent * row.depth + row.name, row.kind, shape, f"{row.parameters:,}", f"{flops:,.2f}"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [f"{{:<{width}}}" if column < 3 else f"{{:>{width}}}" for column, width in enumerate(widths)]
    lines = [gap.join(aligned).format(*line) for line in cells]
    lines.insert(1, "-" * len(lines[0]))
    return lines


def _input_shapes(layer: Layer, shape: Shape) -> dict[str, Shape]:
    """The shape of what reaches each layer, by its path. Nothing is computed."""

    def inputs(params: Params, x: jax.Array) -> dict[str, jax.Array]:
        return {activation.path: activation.x for activation in activations(layer, params, x)}

    params = jax.eval_shape(layer.init, jax.random.key(0))
    reached = jax.eval_shape(inputs, params, jax.ShapeDtypeStruct(shape, jnp.result_type(float)))
    return {path: x.shape for path, x in reached.items()}


def _row(path: str, layer: Layer, shape: Shape) -> Row:
    cost, name = _cost(layer, shape), path.rpartition("/")[2] or "model"
    return Row(_depth(path), name, type(layer).__name__, cost.output[1:], cost.parameters, cost.flops)


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


def _counter() -> jax.Device | None:
    """The device whose compiler counts operations: a CPU, as that of a GPU counts no products."""
    try:
        return jax.devices("cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS leaves it out
        return None


@cache
def _cost(layer: Layer, shape: Shape) -> _Cost:
    """Taken from the traced layer itself, without computing: a table of formulas could drift from the code."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct(shape, jnp.result_type(float))
    with jax.default_device(_counter()):
        lowered = jax.jit(lambda params, x: layer.forward(params, x)[0]).lower(params, x)
    (y,) = jax.tree.leaves(lowered.out_info)
    return _Cost(y.shape, count_parameters(params), int((lowered.cost_analysis() or {}).get("flops", 0)))
