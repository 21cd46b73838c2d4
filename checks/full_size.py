"""The checks of one model at its real size: each layer on the activations that reach it, and end to end.

A model is too large to be evaluated anew for each of its millions of parameters, so it is cut into stages, one for each
encoder block: after a change of a parameter of block 5, only block 5 and what follows it are computed again. The
gradient under test is always that of the whole model. Only the measurement takes the short cut, and it is verified that
all stages together give the model's own loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from checks.cases import model_sizes
from checks.draw import draw_params
from checks.functions import ModelFunction
from checks.structure import classes_inside, qkv_regions
from model.encoder import Encoder, EncoderBlock
from model.layer import Layer, Params, count_parameters
from model.layers.dropout import Dropout
from model.layers.keep_tokens import KeepTokens
from model.layers.patch_embedding import height_width
from model.loss import CrossEntropy
from model.vit import ViT
from model.walk import activations, children, leaves
from training.config import Config
from verify.case import Case, Tensors
from verify.errors import CheckError
from verify.layer import LayerFunction, template, to_params
from verify.probe import MULTIPLE, SMALL
from verify.programs import jit
from verify.random_rounding import rounding_change
from verify.rounding import largest_changes


@dataclass(frozen=True)
class Point:
    """A point at which a model is checked: parameters by name (float64), images (B, H, W, C) and labels."""

    model: ViT
    loss: CrossEntropy
    params: Tensors
    images: Any
    labels: Any
    key: Any = None  # for dropout and drop path; None: evaluation
    config: Config | None = None  # of the run or preset

    @property
    def tree(self) -> Params:
        return to_params(self.model, self.params)

    @property
    def constants(self) -> Tensors:
        return {"labels": self.labels} | ({} if self.key is None else {"key": self.key})

    def gradients(self, factor: float = 1.0, dtype: str = "float64") -> Tensors:
        """The model's own gradient of `factor` times the loss, by name, including that of the images."""
        gradient = _programs(self.model, self.loss).gradient
        tensors = {**self.params, "images": self.images}
        return jax.device_get(gradient(tensors, self.constants, jnp.asarray(factor, dtype)))

    def rounding(self) -> Tensors:
        """By name, how much rounding changes the gradient (see verify/rounding.py)."""
        tensors, rounded = {**self.params, "images": self.images}, _programs(self.model, self.loss).rounded
        return largest_changes(lambda seed: rounded(seed, tensors, self.constants, np.float64(1)))

    def value(self) -> float:
        """The loss."""
        tensors = {**self.params, "images": self.images}
        return float(_programs(self.model, self.loss).value(tensors, self.constants))

    def inputs(self) -> dict[str, tuple[jax.Array, Any]]:
        """The input and the key that reach the model and each layer in it, by path."""
        return _programs(self.model, self.loss).inputs(self.tree, self.images, self.key)


class _Programs(NamedTuple):
    """The compiled functions of a model."""

    value: Any
    gradient: Any
    rounded: Any  # the gradient, rounded at random; compiled at need
    inputs: Any


@lru_cache(maxsize=8)
def _programs(model: ViT, loss: CrossEntropy) -> _Programs:
    function = ModelFunction(model, loss)
    small = count_parameters(template(model)) < SMALL

    def inputs(params: Params, images: jax.Array, key: Any) -> dict[str, tuple[jax.Array, Any]]:
        return {a.path: (a.x, a.key) for a in activations(model, params, images, key)}

    rounded = jit(rounding_change(function.gradient), small)
    return _Programs(jit(function.value, small), jit(function.gradient, small), rounded, jit(inputs, small))


@dataclass(frozen=True)
class FromStage:
    """The loss as a function of the parameters of one stage, computed from the stage's input on.

    The value is each image's share of the loss, (B,). `layers` are the paths and layers from here to the end; the
    parameters of the first `own` are the tensors of the case. Constants: the input `x` (unless the images are a tensor
    of the case), `labels`, and by path the other layers' `params` and all layers' `keys`.
    """

    layers: tuple[tuple[str, Layer], ...]
    own: int
    loss: CrossEntropy

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        x = tensors["images"] if "images" in tensors else constants["x"]
        for i, (path, layer) in enumerate(self.layers):
            if i < self.own:
                params = to_params(layer, {name.removeprefix(f"{path}/"): array for name, array in tensors.items()})
            else:
                params = constants["params"][path]
            x, _ = layer.forward(params, x, constants["keys"].get(path))
        # A loss for each image: images that a step does not reach cancel before the sum, without rounding errors.
        losses, _ = jax.vmap(lambda z, label: self.loss.forward(z[None], label[None]))(x, constants["labels"])
        return losses / len(x)

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        raise CheckError("a stage has no gradient of its own: the case brings that of the whole model")


def random_point(model: ViT, loss: CrossEntropy, seed: int, batch: int) -> Point:
    """Random parameters, images and labels. If the model has dropout, it acts, with a fixed mask."""
    rng = np.random.default_rng(seed)
    height, width = height_width(model.image_size)
    params = draw_params(model, rng)
    images = rng.normal(size=(batch, height, width, model.channels))
    return Point(model, loss, params, images, rng.integers(model.num_classes, size=batch), dropout_key(model, seed))


def dropout_key(model: ViT, seed: int) -> Any:
    """A PRNG key if the model drops anything in training, else None."""
    rates = (model.dropout, model.embedding_dropout, model.attention_dropout, model.patch_dropout, model.drop_path)
    return jax.random.key(seed) if any(rates) else None


def stage_cases(point: Point) -> Iterator[Case]:
    """End to end, a case for each stage. The first includes the gradient of the images.

    Raises:
        CheckError: the stages together do not give the loss of the model.
    """
    first, second = point.gradients(), point.gradients(MULTIPLE)
    rounding = cache(point.rounding)
    tree, inputs = point.tree, point.inputs()
    layers = list(stage_layers(point.model))
    keys = {path: inputs[path][1] for path, _ in layers if point.key is not None}
    for start, end in _stages(layers):
        name = layers[start][0]
        own = tuple(f"{path}/" for path, _ in layers[start:end])
        tensors = {tensor: array for tensor, array in point.params.items() if tensor.startswith(own)}
        if start == 0:
            tensors["images"] = point.images
        constants = {
            "labels": point.labels,
            "keys": {path: keys[path] for path, _ in layers[start:] if path in keys},
            "params": {path: _branch(tree, path) for path, _ in layers[end:]},
        } | ({"x": inputs[name][0]} if start else {})
        function = FromStage(tuple(layers[start:]), end - start, point.loss)
        if start == 0:
            _require_same(point.value(), float(jit(function.value, False)(tensors, constants).sum()))
        yield Case(
            f"model, {name} to the loss", function, tensors, constants,
            model_sizes(point.model, len(point.images)), qkv_regions(tensors), "ViT",
            classes_inside(point.model) | {"CrossEntropy"},
            ({tensor: first[tensor] for tensor in tensors}, {tensor: second[tensor] for tensor in tensors}),
            rounding,
        )  # fmt: skip


def _require_same(of_model: float, of_stages: float) -> None:
    if not math.isclose(of_model, of_stages, rel_tol=1e-12):
        raise CheckError(
            f"the stages give the loss {of_stages!r}, the model {of_model!r}: checks/full_size.py is wrong"
        )


def stage_layers(model: ViT) -> Iterator[tuple[str, Layer]]:
    """The layers of the model in order, with their paths; the encoder is replaced by its blocks."""
    for name, layer in children(model):
        if isinstance(layer, Encoder):
            yield from ((f"{name}/{block}", inner) for block, inner in children(layer))
        else:
            yield name, layer


def _stages(layers: list[tuple[str, Layer]]) -> Iterator[tuple[int, int]]:
    """The first index and the end of each stage: the layers before the blocks, each block, the layers after them.

    A model without blocks is one stage.
    """
    blocks = [i for i, (_, layer) in enumerate(layers) if isinstance(layer, EncoderBlock)]
    cuts = [0, *blocks, *(i + 1 for i in blocks[-1:]), len(layers)]
    return ((start, end) for start, end in pairwise(cuts) if end > start)


def _branch(tree: Params, path: str) -> Params:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def full_size_layer_cases(point: Point) -> Iterator[Case]:
    """Each layer that computes by itself, on the input that it gets in this model, with a random cotangent."""
    inputs, sizes = point.inputs(), model_sizes(point.model, len(point.images))
    for path, layer in leaves(point.model):
        x, key = inputs[path]
        if isinstance(layer, Dropout | KeepTokens) and (key is None or not layer.rate):
            continue  # the identity
        own = {name.removeprefix(f"{path}/"): a for name, a in point.params.items() if name.startswith(f"{path}/")}
        tensors = {**own, "x": np.asarray(x)}
        kind = type(layer).__name__
        yield Case(
            f"{path} ({kind})", LayerFunction(layer), tensors, {} if key is None else {"key": key}, sizes,
            qkv_regions(tensors), kind, classes_inside(layer),
        )  # fmt: skip
