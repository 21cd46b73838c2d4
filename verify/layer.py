"""A layer as a function to be checked: anything with `init`, `forward` and `backward`."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from verify.called import to_numpy
from verify.case import Case, Regions, Tensors, named
from verify.errors import CheckError
from verify.inputs import ONE_INPUT, Inputs, is_integer, is_shape, other_input, read_inputs
from verify.misuse import described, require_like


class HasParameters(Protocol):
    """What parameters can be drawn of."""

    def __hash__(self) -> int:
        """Equal layers are compiled once."""
        ...

    def init(self, key: jax.Array) -> Any:
        """The parameters to start from, drawn from a PRNG key: a tree of arrays."""
        ...


class Layer(HasParameters, Protocol):
    """The contract of a layer. `params` and `grads` are trees of arrays of the same structure."""

    def forward(self, params: Any, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        """Return `(y, cache)`; a key makes dropout act."""
        ...

    def backward(self, params: Any, cache: Any, dy: jax.Array) -> tuple[jax.Array, Any]:
        """Return `(dx, grads)`."""
        ...


@dataclass(frozen=True)
class LayerFunction:
    """A layer as a function of its parameters and its inputs. The constant `key`, if there is one, is its key.

    Attributes:
        inputs: how `forward` takes them.
        between: whether another forward runs between the forward and its backward.
    """

    layer: Layer
    inputs: Inputs = ONE_INPUT
    between: bool = True

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        arguments = self.inputs.arguments(tensors, constants)
        y, _ = self._forward(to_params(self.layer, tensors), arguments, constants.get("key"))
        return y

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, arguments = to_params(self.layer, tensors), self.inputs.arguments(tensors, constants)
        key = constants.get("key")
        _, cache = self._forward(params, arguments, key)
        if self.between:  # a layer that keeps anything outside its cache now has the wrong values
            self._forward(params, jax.tree.map(other_input, arguments), other_key(key))
        dx, grads = self._split(self.layer.backward(params, cache, dy))
        gradients = {name: dx[name] for name in self.inputs.names if name in tensors}
        return {**named(grads), **gradients}

    def without_another_forward(self) -> "LayerFunction":
        """The same, with nothing between a forward and its backward."""
        return replace(self, between=False)

    def _forward(self, params: Any, arguments: tuple[Any, ...], key: Any) -> tuple[Any, Any]:
        found = self.inputs.call(self.layer.forward, params, arguments, key)
        if not isinstance(found, tuple) or len(found) != 2:
            raise CheckError(
                f"{_title(self.layer)}: forward must return (y, cache), but it returned {described(found)}"
            )
        return found

    def _split(self, found: Any) -> tuple[Tensors, Any]:
        """The gradients of the inputs by name, and those of the parameters, from what `backward` returned."""
        title, count = _title(self.layer), self.inputs.count
        if isinstance(found, tuple) and len(found) == count + 1 != 2:
            found = found[:-1], found[-1]  # as in `return dq, dk, dv, grads`
        if not isinstance(found, tuple) or len(found) != 2:
            raise CheckError(f"{title}: backward must return (dx, grads), but it returned {described(found)}")
        dx, grads = found
        if count == 1 and dx is not None:
            require_like(dx, self.inputs.first, f"{title}: backward returned {{found}} as dx, but x is {{expected}}")
        params = f"{title}: backward returned {{found}} as grads, but init returns {{expected}}"
        require_like(grads, template(self.layer), params)
        return self.inputs.gradients((dx,) if count == 1 else dx, title), grads


def _title(layer: Any) -> str:
    return type(layer).__name__


def other_key(key: Any) -> Any:
    """A key that differs from `key`; None if there is none."""
    return None if key is None else jax.random.fold_in(key, 1)


@cache
def template(layer: HasParameters) -> Any:
    """The tree of a layer's parameters, with shapes and types in place of arrays."""
    with suppress(Exception):  # of an `init` that cannot be traced; its own errors come again
        return jax.eval_shape(layer.init, jax.random.key(0))
    params = jax.tree.map(to_numpy, layer.init(jax.random.key(0)))
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), params)


def to_params(layer: HasParameters, tensors: Tensors) -> Any:
    """The tree that the layer expects, from arrays by name. A layer without parameters has its place in it as `{}`."""
    tree = template(layer)
    return jax.tree.unflatten(jax.tree.structure(tree), [tensors[name] for name in named(tree)])


def draw_params(layer: Layer, rng: np.random.Generator) -> Tensors:
    """Parameters by name, float64: the initial values plus noise, since zeros and ones hide mistakes.

    Raises:
        CheckError: a parameter is no array of floating-point numbers.
    """
    start = named(layer.init(jax.random.key(int(rng.integers(1 << 31)))))
    for name, array in start.items():
        kind = getattr(array, "dtype", type(array))
        if not (kind is float or _is_floating(kind)):
            raise CheckError(
                f"init returned {name} of type {getattr(kind, '__name__', kind)}, which has no gradient: parameters "
                "are arrays of floating-point numbers; make the rest fields of the layer, or inputs"
            )
    return {name: to_numpy(array).astype(np.float64) + _noise(np.shape(array), rng) for name, array in start.items()}


def _is_floating(kind: Any) -> bool:
    """Whether a type of JAX, NumPy or PyTorch is one of floating-point numbers."""
    try:
        return bool(jnp.issubdtype(kind, jnp.floating))
    except TypeError:
        return bool(getattr(kind, "is_floating_point", False))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal numbers, divided by the square root of the fan-in for a matrix."""
    return 0.5 * rng.normal(size=shape) / (math.sqrt(shape[0]) if len(shape) > 1 else 1)


def draw_input(shape: tuple[int, ...], rng: np.random.Generator, spread: float = 0.5) -> np.ndarray:
    """Normal numbers, each times a random size, so that small and large inputs occur together."""
    return rng.normal(size=shape) * np.exp(spread * rng.normal(size=shape))


def layer_case(
    name: str, layer: Layer, params: Tensors, x: Any, rng: np.random.Generator, *,
    train: bool = False, sizes: Mapping[str, float] | None = None, regions: Callable[[Tensors], Regions] | None = None,
    target: str = "", contains: frozenset[str] = frozenset(),
) -> Case:  # fmt: skip
    """A layer at the parameters `params` (by name); `x` is an input or the shape of a random one.

    Several inputs are a tuple of these, and integers are not differentiated (see `inputs.read_inputs`). With `train`
    the layer gets a key, drawn from `rng`. `regions` finds the parts of tensors that are judged separately (see
    `Case`).

    Raises:
        CheckError: the layer is not hashable, takes other inputs or no key, or a parameter has the name of an input.
    """
    require_hashable(name, layer)
    inputs, given = read_inputs(name, layer.forward, x)
    for taken in params.keys() & given.keys():
        raise CheckError(f"{name}: {taken} is the name of the input: let init return a dict, with other names")
    if train and inputs.key is None:
        raise CheckError(f"{name}: train=True passes a PRNG key, but forward takes none: write forward(params, x, key)")
    arrays = {n: draw_input(tuple(one), rng) if is_shape(one) else np.asarray(one) for n, one in given.items()}
    tensors: Tensors = {**params, **{n: a for n, a in arrays.items() if not is_integer(a)}}
    constants: dict[str, Any] = {n: a for n, a in arrays.items() if is_integer(a)}
    if train:
        constants["key"] = jax.random.key(int(rng.integers(1 << 31)))
    shape = next(iter(arrays.values())).shape if arrays else ()
    known: dict[str, float] = {"B": shape[0]} if shape else {}
    known |= {"N": shape[1], "D": shape[-1]} if len(shape) == 3 else {}
    known |= {**(sizes or {}), "rows": math.prod(shape[:-1])}
    return Case(
        name, LayerFunction(layer, inputs), tensors, constants, known, regions(tensors) if regions else {},
        target or type(layer).__name__, contains,
    )  # fmt: skip


def require_hashable(name: str, layer: Any) -> None:
    """Raise CheckError if `layer` is not hashable, with the reason: equal layers are compiled once."""
    try:
        hash(layer)
    except TypeError as error:
        if is_dataclass(layer) and not getattr(layer, "__dataclass_params__").frozen:  # noqa: B009 - unknown to mypy
            words = "it is a dataclass that can be changed: write @dataclass(frozen=True)"
        elif is_dataclass(layer):
            words = f"one of its fields is not ({error}): make a list a tuple, and let init return the arrays"
        else:
            words = "a frozen dataclass is, and so is a class without __eq__"
        raise CheckError(f"{name}: the layer is not hashable: {words}") from None
