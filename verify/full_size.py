"""The checks of one model at its real size: each layer on the activations that reach it, and end to end.

A whole model is too large to be evaluated anew for each of its millions of parameters. It is cut into stages, one for
each encoder block: to move a parameter of block 5, only block 5 and what follows has to be computed again. The
gradient under test is always the whole model's; only the measurement takes the short cut, and it is verified that the
stages, put together, give the model's own loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.encoder import Encoder
from model.layer import Layer, Params
from model.layers.dropout import Dropout
from model.layers.patch_embedding import height_width
from model.loss import CrossEntropy
from model.vit import ViT
from verify.anatomy import contained, layers_of, named_keys, regions, working_layers
from verify.case import Case, LayerFunction, ModelFunction, Tensors, template, to_params
from verify.cases import model_sizes
from verify.draw import draw_params
from verify.errors import CheckError
from verify.probe import MULTIPLE, SMALL, jit


class Piece(NamedTuple):
    """A layer of the model under its path, with the key that it is given in training."""

    path: str
    layer: Layer
    key: Any


@dataclass(frozen=True)
class Point:
    """A model where it is to be checked: parameters by name (float64), images (B, H, W, C) and labels."""

    model: ViT
    loss: CrossEntropy
    params: Tensors
    images: Any
    labels: Any
    key: Any = None  # of dropout and drop path; None: they do not act

    @property
    def tree(self) -> Params:
        return to_params(self.model, self.params)

    @property
    def constants(self) -> Tensors:
        return {"labels": self.labels} | ({} if self.key is None else {"key": self.key})

    def gradients(self, factor: float = 1.0, dtype: str = "float64") -> Tensors:
        """The model's own gradient of `factor` times the loss, by name, the images' among them."""
        gradient = _programs(self.model, self.loss).gradient
        tensors = {**self.params, "images": self.images}
        return jax.device_get(gradient(tensors, self.constants, jnp.asarray(factor, dtype)))

    def value(self) -> float:
        """The loss."""
        tensors = {**self.params, "images": self.images}
        return float(_programs(self.model, self.loss).value(tensors, self.constants))

    def inputs(self) -> dict[str, tuple[jax.Array, Any]]:
        """What reaches each layer that does any work, and each encoder block: its input and its key, by path."""
        return _programs(self.model, self.loss).inputs(self.tree, self.images, self.key)


class _Programs(NamedTuple):
    """The compiled forms of a model."""

    value: Any
    gradient: Any
    inputs: Any


@lru_cache(maxsize=8)
def _programs(model: ViT, loss: CrossEntropy) -> _Programs:
    function = ModelFunction(model, loss)
    small = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(template(model))) < SMALL

    def inputs(params: Params, images: jax.Array, key: Any) -> dict[str, tuple[jax.Array, Any]]:
        walk = working_layers(model, params, images, key)
        found = {path: (x, layer_key) for path, _, _, x, layer_key in walk}
        for piece in pieces(model, key):  # a block is reached by what reaches the first layer in it
            first = next(path for path in found if f"{path}/".startswith(f"{piece.path}/"))
            found[piece.path] = (found[first][0], piece.key)
        return found

    return _Programs(jit(function.value, small), jit(function.gradient, small), jit(inputs, small))


@dataclass(frozen=True)
class FromStage:
    """The loss as a function of the parameters of some layers in a row, computed from their input on: what each image
    adds to it, (B,).

    `layers` are the paths and layers from here to the end, the first `own` of which hold the tensors of the case.
    Constants: the input `x` (unless the images are a tensor of the case), `labels`, and for each path `params` and
    `keys`.
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
        # A loss for each image: the images that a step does not reach cancel before the sum, and bring no rounding.
        losses, _ = jax.vmap(lambda z, label: self.loss.forward(z[None], label[None]))(x, constants["labels"])
        return losses / len(x)

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        raise CheckError("a stage has no gradient of its own: the case brings that of the whole model")


def random_point(model: ViT, loss: CrossEntropy, seed: int, batch: int) -> Point:
    """Random parameters, images and labels; dropout acts, with a fixed mask, if the model has any."""
    rng = np.random.default_rng(seed)
    height, width = height_width(model.image_size)
    params = draw_params(model, rng)
    images = rng.normal(size=(batch, height, width, model.channels))
    return Point(model, loss, params, images, rng.integers(model.num_classes, size=batch), dropout_key(model, seed))


def dropout_key(model: ViT, seed: int) -> Any:
    """A PRNG key if the model drops anything in training, else None."""
    rates = (model.dropout, model.embedding_dropout, model.attention_dropout, model.drop_path)
    return jax.random.key(seed) if any(rates) else None


def stage_cases(point: Point) -> Iterator[Case]:
    """End to end, a case for each stage; the first has the images' gradient too.

    Raises:
        CheckError: the stages do not add up to the model.
    """
    first, second = point.gradients(), point.gradients(MULTIPLE)
    tree, inputs = point.tree, point.inputs()
    groups = list(_groups(pieces(point.model, point.key)))
    for i, group in enumerate(groups):
        rest = [piece for later in groups[i + 1 :] for piece in later]
        tensors = {name: a for name, a in point.params.items() if name.startswith(tuple(f"{p.path}/" for p in group))}
        if i == 0:
            tensors["images"] = point.images
        constants = {
            "labels": point.labels,
            "keys": {piece.path: piece.key for piece in [*group, *rest] if piece.key is not None},
            "params": {piece.path: _branch(tree, piece.path) for piece in rest},
        } | ({"x": inputs[group[0].path][0]} if i else {})
        function = FromStage(tuple((p.path, p.layer) for p in [*group, *rest]), len(group), point.loss)
        if i == 0:
            _require_same(point.value(), float(jit(function.value, False)(tensors, constants).sum()))
        yield Case(
            f"model, {group[0].path} to the loss", function, tensors, constants,
            model_sizes(point.model, len(point.images)), regions(tensors), "ViT",
            contained(point.model) | {"CrossEntropy"},
            ({name: first[name] for name in tensors}, {name: second[name] for name in tensors}),
        )  # fmt: skip


def _require_same(whole: float, staged: float) -> None:
    if not math.isclose(whole, staged, rel_tol=1e-12):
        raise CheckError(f"the stages give the loss {staged!r}, the model {whole!r}: verify/full_size.py is wrong")


def pieces(model: ViT, key: Any) -> list[Piece]:
    """The layers of the model in a row, the encoder taken apart into its blocks."""
    found = []
    for name, layer, layer_key in named_keys(model.body, key):
        if isinstance(layer, Encoder):
            found += [Piece(f"{name}/{block}", inner, k) for block, inner, k in named_keys(layer.body, layer_key)]
        else:
            found.append(Piece(name, layer, layer_key))
    return found


def _groups(row: list[Piece]) -> Iterator[list[Piece]]:
    """What comes before the blocks, each block, what comes after."""
    blocks = [i for i, piece in enumerate(row) if piece.path.startswith("encoder/")]
    cuts = [0, *blocks, blocks[-1] + 1, len(row)]
    return (row[a:b] for a, b in pairwise(cuts) if b > a)


def _branch(tree: Params, path: str) -> Params:
    for name in path.split("/"):
        tree = tree[name]
    return tree


def full_size_layer_cases(point: Point) -> Iterator[Case]:
    """Each layer by itself, on the input that it gets in this model, with a random cotangent."""
    inputs, sizes = point.inputs(), model_sizes(point.model, len(point.images))
    for path, layer in layers_of(point.model):
        x, key = inputs[path]
        if isinstance(layer, Dropout) and (key is None or not layer.rate):
            continue  # the identity
        own = {name.removeprefix(f"{path}/"): a for name, a in point.params.items() if name.startswith(f"{path}/")}
        tensors = {**own, "x": np.asarray(x)}
        kind = type(layer).__name__
        yield Case(
            f"{path} ({kind})", LayerFunction(layer), tensors, {} if key is None else {"key": key}, sizes,
            regions(tensors), kind, contained(layer),
        )  # fmt: skip
