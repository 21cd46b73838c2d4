"""A layer as a function to be checked: anything with `init`, `forward` and `backward`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import jax
import numpy as np

from verify.case import Case, Regions, Tensors, named
from verify.errors import CheckError


class Layer(Protocol):
    """The contract of a layer. `params` and `grads` are trees of arrays of the same structure."""

    def __hash__(self) -> int:
        """Equal layers are compiled once."""
        ...

    def init(self, key: jax.Array) -> Any:
        """The parameters to start from, drawn from a PRNG key."""
        ...

    def forward(self, params: Any, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        """Return `(y, cache)`; a key makes dropout act."""
        ...

    def backward(self, params: Any, cache: Any, dy: jax.Array) -> tuple[jax.Array, Any]:
        """Return `(dx, grads)`."""
        ...


@dataclass(frozen=True)
class LayerFunction:
    """A layer as a function of its parameters and its input `x`. The constant `key`, if there is one, is its key."""

    layer: Layer

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        y, _ = self.layer.forward(to_params(self.layer, tensors), tensors["x"], constants.get("key"))
        return y

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, x, key = to_params(self.layer, tensors), tensors["x"], constants.get("key")
        _, cache = self.layer.forward(params, x, key)
        # A second forward before the backward: a layer that keeps anything outside its cache now has the wrong values.
        self.layer.forward(params, other_input(x), other_key(key))
        dx, grads = self.layer.backward(params, cache, dy)
        return {**named(grads), "x": dx}


def other_input(x: jax.Array) -> jax.Array:
    """An input that differs from `x`."""
    return 0.5 - 2 * x


def other_key(key: Any) -> Any:
    """A key that differs from `key`; None if there is none."""
    return None if key is None else jax.random.fold_in(key, 1)


@cache
def template(layer: Layer) -> Any:
    """The tree of a layer's parameters, with shapes and types in place of arrays."""
    return jax.eval_shape(layer.init, jax.random.key(0))


def to_params(layer: Layer, tensors: Tensors) -> Any:
    """The tree that the layer expects, from arrays by name. A layer without parameters has its place in it as `{}`."""
    tree = template(layer)
    return jax.tree.unflatten(jax.tree.structure(tree), [tensors[name] for name in named(tree)])


def draw_params(layer: Layer, rng: np.random.Generator) -> Tensors:
    """Parameters by name, float64: the initial values plus noise, since zeros and ones hide mistakes."""
    start = named(layer.init(jax.random.key(int(rng.integers(1 << 31)))))
    return {name: np.asarray(array, np.float64) + _noise(np.shape(array), rng) for name, array in start.items()}


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal numbers, divided by the square root of the fan-in for a matrix."""
    return 0.5 * rng.normal(size=shape) / (math.sqrt(shape[0]) if len(shape) > 1 else 1)


def draw_input(shape: tuple[int, ...], rng: np.random.Generator, spread: float = 0.5) -> np.ndarray:
    """Normal numbers, each times a random size, so that small and large inputs occur together."""
    return rng.normal(size=shape) * np.exp(spread * rng.normal(size=shape))


def layer_case(
    name: str, layer: Layer, params: Tensors, x: tuple[int, ...] | np.ndarray, rng: np.random.Generator, *,
    train: bool = False, sizes: Mapping[str, float] | None = None, regions: Callable[[Tensors], Regions] | None = None,
    target: str = "", contains: frozenset[str] = frozenset(),
) -> Case:  # fmt: skip
    """A layer at the parameters `params` (by name); `x` is an input or the shape of a random one.

    With `train` the layer gets a key, drawn from `rng`. `regions` finds the parts of tensors that are judged separately
    (see `Case`).

    Raises:
        CheckError: the layer is not hashable, or a parameter has the name of the input.
    """
    if type(layer).__hash__ is None:
        raise CheckError(f"{name}: the layer is not hashable: a frozen dataclass is, and so is a class without __eq__")
    if "x" in params:
        raise CheckError(f"{name}: x is the name of the input: let init return a dict, with other names")
    tensors: Tensors = {**params, "x": x if isinstance(x, np.ndarray) else draw_input(x, rng)}
    constants: dict[str, Any] = {"key": jax.random.key(int(rng.integers(1 << 31)))} if train else {}
    shape = tensors["x"].shape
    known: dict[str, float] = {"B": shape[0]} | ({"N": shape[1], "D": shape[-1]} if len(shape) == 3 else {})
    known |= {**(sizes or {}), "rows": math.prod(shape[:-1])}
    return Case(
        name, LayerFunction(layer), tensors, constants, known, regions(tensors) if regions else {},
        target or type(layer).__name__, contains,
    )  # fmt: skip
