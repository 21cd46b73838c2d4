"""An exercise: a forward that is given, a backward that is asked for, and the point at which it is checked.

At that point all sizes differ, no gain is 1 and no shift is 0. The incoming gradient is random, because sums of outputs
or of their squares hide mistakes in layer norm.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.case import Tensors

SIZES: dict[str, int] = {"B": 2, "N": 5, "D": 12, "HEADS": 3, "K": 4, "M": 7, "C": 6}
Tree = Any
"""An array, or a nested dictionary of arrays."""


@dataclass(frozen=True)
class Invariant:
    """Something that must be zero.

    Attributes:
        tensor: the gradient that it concerns.
        words: "sum over the features of dx", to be followed by "is 6.8, should be 0".
        value: computes the numbers that must be zero from the arguments, the incoming gradient and the gradients.
    """

    tensor: str
    words: str
    value: Callable[[Tensors, Any, Tensors], Any]

    def broken(self, arguments: Tensors, dy: Any, gradients: Tensors) -> float | None:
        """The largest deviation, with its sign, or None if it is negligible."""
        values = np.ravel(np.asarray(self.value(arguments, dy, gradients)))
        worst = float(values[np.argmax(np.abs(values))])
        return worst if abs(worst) > 1e-4 * float(np.abs(gradients[self.tensor]).max()) else None


@dataclass(frozen=True)
class Exercise:
    """One exercise of the catalogue.

    Attributes:
        name: the name of the file, without `.py`.
        title: for the list.
        point: draws the arguments of `forward` (or of `function`), by name and in order.
        wanted: the arguments whose gradients are asked for, in the order in which they are returned; for a function
            other than `backward`, the names of what it returns.
        invariants: what is known about the gradients without computing them.
        function: the function that the reader writes.
        incoming: the file's name for the incoming gradient.
    """

    name: str
    title: str
    point: Callable[[np.random.Generator], dict[str, Tree]]
    wanted: tuple[str, ...]
    invariants: tuple[Invariant, ...] = ()
    function: str = "backward"
    incoming: str = "dy"

    @property
    def is_backward(self) -> bool:
        return self.function == "backward"

    @property
    def returns(self) -> tuple[str, ...]:
        """The names of what the reader's function returns."""
        return tuple(f"d{name}" for name in self.wanted) if self.is_backward else self.wanted

    def arguments(self, seed: int = 0) -> dict[str, Tree]:
        """The point, as JAX arrays in float64."""
        drawn = self.point(np.random.default_rng(seed))
        return {name: jax.tree.map(jnp.asarray, tree) for name, tree in drawn.items()}  # in their order


def flatten(values: dict[str, Tree]) -> Tensors:
    """The leaves of trees by name and path: `{"dx": ..., "dparams/norm_1/gamma": ...}`."""
    found = {}
    for name, tree in values.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            found[f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}".rstrip("/")] = leaf
    return found


def unflatten(tensors: Tensors, like: dict[str, Tree]) -> dict[str, Tree]:
    """Trees as in `like`, with the leaves of `tensors`."""
    return {
        name: jax.tree.unflatten(jax.tree.structure(tree), [tensors[leaf] for leaf in flatten({name: tree})])
        for name, tree in like.items()
    }


def nearly_equal(a: Any, b: Any) -> bool:
    """Whether two arrays are equal up to rounding."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= 1e-9 * np.abs(b).max(initial=0))


def named_sizes(arguments: dict[str, Tree]) -> dict[str, float]:
    """Sizes by their names, from which the diagnosis explains a wrong factor."""
    return {**SIZES, "rows": math.prod(np.shape(next(iter(flatten(arguments).values())))[:-1])}
