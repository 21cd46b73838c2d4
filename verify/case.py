"""What is checked: a function of named tensors, the gradient that somebody derived for it, and the point to check it
at.

Every gradient in this package is that of one number, `<w, f(tensors)>`, with respect to every tensor. The cotangent
`w` is random: with all ones a layer norm's output sums to a constant, and no mistake in its backward could be seen.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import jax
import numpy as np

from model.layer import Layer, Params
from model.loss import CrossEntropy

Tensors = dict[str, Any]
"""Arrays by name, as in `{"qkv/W": ..., "x": ...}`."""

Region = tuple[slice, ...]
"""A part of a tensor that has a meaning of its own, as the keys' third of `qkv/W`."""


class Function(Protocol):
    """A differentiable function with the gradient to be checked.

    Hashable, so that eight equal layers are compiled once. `constants` holds what is not differentiated: a dropout key,
    labels.
    """

    def __hash__(self) -> int: ...

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        """The output, of any shape."""
        ...

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        """The gradient of `<dy, value>` under the names of `tensors`, as it was derived by hand."""
        ...


@dataclass(frozen=True)
class Case:
    """One check to make.

    Attributes:
        name: unique; also seeds the random numbers of this case, so that a case alone draws what it draws in the crowd.
        tensors: the point, float64.
        constants: what is not differentiated.
        sizes: the sizes that a wrong factor may be made of, as in `{"B": 3, "K": 6}`.
        regions: parts of a tensor that are judged by themselves.
        target: the class that the case is about; a mutant of it is tried on this case.
        contains: the classes of all layers inside, to tell the culprit from those who only contain it.
        gradients: where they are known already, those of the sum of the outputs and of `probe.MULTIPLE` times it;
            `function.gradient` is then not called.
    """

    name: str
    function: Function
    tensors: Tensors
    constants: Tensors = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)
    regions: Mapping[str, tuple[tuple[str, Region], ...]] = field(default_factory=dict)
    target: str = ""
    contains: frozenset[str] = frozenset()
    gradients: tuple[Tensors, Tensors] | None = None

    def random(self, seed: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the name alone."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])


@dataclass(frozen=True)
class LayerFunction:
    """A layer of the model as a function of its parameters and its input `x`."""

    layer: Layer

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        y, _ = self.layer.forward(to_params(self.layer, tensors), tensors["x"], constants.get("key"))
        return y

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, x, key = to_params(self.layer, tensors), tensors["x"], constants.get("key")
        _, cache = self.layer.forward(params, x, key)
        # A second forward between the two: a layer that keeps something outside its cache now keeps the wrong thing.
        self.layer.forward(params, 0.5 - 2 * x, _other_key(key))
        dx, grads = self.layer.backward(params, cache, dy)
        return {**named(grads), "x": dx}


def _other_key(key: Any) -> Any:
    return None if key is None else jax.random.fold_in(key, 1)


@dataclass(frozen=True)
class LossFunction:
    """The loss as a function of the logits, at the `labels` among the constants."""

    loss: CrossEntropy

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        value, _ = self.loss.forward(tensors["logits"], constants["labels"])
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        logits, labels = tensors["logits"], constants["labels"]
        _, cache = self.loss.forward(logits, labels)
        self.loss.forward(0.5 - 2 * logits, labels[::-1])  # as in LayerFunction
        return {"logits": dy * self.loss.backward(cache)}


@dataclass(frozen=True)
class ModelFunction:
    """A model and its loss, from parameters and `images` to one number."""

    model: Layer
    loss: CrossEntropy

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        logits, _ = self.model.forward(to_params(self.model, tensors), tensors["images"], constants.get("key"))
        value, _ = self.loss.forward(logits, constants["labels"])
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, images, labels = to_params(self.model, tensors), tensors["images"], constants["labels"]
        key = constants.get("key")
        logits, cache = self.model.forward(params, images, key)
        _, loss_cache = self.loss.forward(logits, labels)
        others, _ = self.model.forward(params, 0.5 - 2 * images, _other_key(key))  # as in LayerFunction
        self.loss.forward(others, labels[::-1])
        dimages, grads = self.model.backward(params, cache, dy * self.loss.backward(loss_cache))
        return {**named(grads), "images": dimages}


@dataclass(frozen=True)
class PlainFunction:
    """Any `f(x) -> y` of a tree of arrays, with a gradient `analytic(x, dy)` that is a tree like x."""

    f: Callable[[Any], jax.Array]
    analytic: Callable[[Any, jax.Array], Any]
    tree: Any  # the structure of x

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        return self.f(jax.tree.unflatten(self.tree, list(tensors.values())))

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        return named(self.analytic(jax.tree.unflatten(self.tree, list(tensors.values())), dy))


def named(tree: Any) -> Tensors:
    """The leaves of a tree by their path, as in `qkv/W`; a lone array is called `x`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/") or "x": leaf for path, leaf in leaves}


@cache
def template(layer: Layer) -> Params:
    """The tree of a layer's parameters, with shapes and types in place of arrays."""
    return jax.eval_shape(layer.init, jax.random.key(0))


def to_params(layer: Layer, tensors: Tensors) -> Params:
    """The tree that the layer expects, from arrays by name. A layer without parameters has its place in it as `{}`."""
    tree = template(layer)
    return jax.tree.unflatten(jax.tree.structure(tree), [tensors[name] for name in named(tree)])
