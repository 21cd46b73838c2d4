"""The inputs of a layer: one or several, floating-point or integer, given as arrays or as shapes."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from verify.case import Tensors
from verify.errors import CheckError

KEYS = ("key", "rng", "prng", "prng_key", "rng_key")  # names that a PRNG key has
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Inputs:
    """How `forward` takes its inputs, and where they are among the tensors and constants of a case.

    Attributes:
        names: of the arrays, in the order of the tree's leaves.
        tree: the structure of the tuple of arguments, one for each input.
        key: the name of the argument that takes the PRNG key; "" if it comes after the inputs, None if there is none.
    """

    names: tuple[str, ...] = ("x",)
    tree: Any = field(default_factory=lambda: jax.tree.structure((0,)))
    key: str | None = ""

    def arguments(self, arrays: Mapping[str, Any], constants: Mapping[str, Any]) -> tuple[Any, ...]:
        """The inputs as `forward` takes them; what is no tensor is a constant."""
        return tuple(jax.tree.unflatten(self.tree, [arrays[n] if n in arrays else constants[n] for n in self.names]))

    def call(self, forward: Callable[..., Any], params: Any, arguments: tuple[Any, ...], key: Any) -> Any:
        """`forward` at these arguments."""
        if self.key is None:
            return forward(params, *arguments)
        return forward(params, *arguments, **{self.key: key}) if self.key else forward(params, *arguments, key)

    @property
    def first(self) -> Any:
        """The structure of the first argument, with numbers in place of arrays."""
        return jax.tree.unflatten(self.tree, [0] * len(self.names))[0]

    @property
    def count(self) -> int:
        """The number of arguments."""
        return len(self.tree.children())

    def gradients(self, dx: Any, name: str) -> Tensors:
        """The gradients of the inputs by name, from a tuple for all arguments; None for one that is left out.

        Raises:
            CheckError: there are more or fewer of them than inputs.
        """
        leaves = jax.tree.leaves(dx, is_leaf=lambda leaf: leaf is None)
        if len(leaves) != len(self.names):
            raise CheckError(
                f"{name}: backward returned {_count(len(leaves), 'gradient')} of inputs, but there "
                f"{_are(len(self.names))}: return one for each, None for one of integers"
            )
        return dict(zip(self.names, leaves, strict=True))


ONE_INPUT = Inputs()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _are(number: int) -> str:
    return f"{'is' if number == 1 else 'are'} {_count(number, 'input')}"


def is_shape(x: Any) -> bool:
    """Whether `x` is a shape, as in `(3, 9)`, and not an array or several inputs."""
    return isinstance(x, tuple | list) and all(isinstance(size, int | np.integer) for size in x)


def is_one(x: Any) -> bool:
    """Whether `x` is a shape or an array."""
    return is_shape(x) or hasattr(x, "dtype")


def read_inputs(name: str, forward: Callable[..., Any], x: Any) -> tuple[Inputs, dict[str, Any]]:
    """How `forward(params, ...)` takes `x`, and the shapes and arrays in `x` by name.

    `x` is a shape or an array; for several arguments a tuple of these; or a tree of them that is one argument.

    Raises:
        CheckError: `forward` takes another number of inputs.
    """
    slots, required, key, any_number = _signature(forward)
    several = isinstance(x, tuple) and not is_one(x) and (any_number or len(slots) >= len(x) > 1)
    arguments = x if several else (x,)
    if required > len(arguments):
        raise CheckError(
            f"{name}: forward takes {required} inputs ({', '.join(slots[:required])}), but {len(arguments)} "
            f"{'is' if len(arguments) == 1 else 'are'} given: give a tuple of {required} shapes or arrays"
        )
    names = [*slots, *(f"x{i}" for i in range(len(slots), len(arguments)))] if several else ["x"]
    found = {
        "/".join(filter(None, (argument, jax.tree_util.keystr(path, simple=True, separator="/")))): leaf
        for argument, one in zip(names, arguments, strict=False)
        for path, leaf in jax.tree_util.tree_leaves_with_path(one, is_leaf=is_one)
    }
    for argument, leaf in found.items():
        if not is_one(leaf) or (is_shape(leaf) and min(leaf, default=0) < 0):
            raise CheckError(f"{name}: {argument} is {leaf!r}: give a shape, as in (3, 4), or an array")
    tree = jax.tree.structure(jax.tree.map(lambda _: 0, tuple(arguments), is_leaf=is_one))
    if key == "" and len(slots) <= len(arguments):
        key = None  # no argument is left for it
    return Inputs(tuple(found), tree, key), found


def _signature(forward: Callable[..., Any]) -> tuple[list[str], int, str | None, bool]:
    """The names of the arguments of `forward` after `params`, without the key; how many have no default; the name of
    the key, or "" where it comes next; and whether there may be any number of arguments."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (ValueError, TypeError):  # a function that does not tell
        return ["x"], 1, "", True
    slots = [p for p in parameters if p.kind in POSITIONAL][1:]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    last = max((i for i, p in enumerate(slots) if p.default is p.empty), default=-1)  # of those that must be given
    # Not the `key` of forward(params, query, key, value).
    keys = [p.name for i, p in enumerate(slots) if i >= last and p.name in KEYS]
    keys += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in KEYS]
    slots = [p for p in slots if p.name not in keys]
    required = sum(p.default is p.empty for p in slots)
    names = [p.name for p in slots]
    return names, required, keys[0] if keys else "" if not any_number else None, any_number


def is_integer(array: Any) -> bool:
    """Whether an array holds integers or truth values, which have no gradient."""
    return not jax.numpy.issubdtype(array.dtype, jax.numpy.inexact)


def other_input(x: Any) -> Any:
    """An input that differs from `x`; integers stay in their range."""
    kind = str(x.dtype)
    if "bool" in kind:
        return ~x
    return x.max() + x.min() - x if "int" in kind else 0.5 - 2 * x
