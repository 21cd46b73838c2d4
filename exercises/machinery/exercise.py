"""An exercise: a forward that is given, a backward that is asked for, and the point to check it at.

At that point all sizes differ, no gain is 1 and no shift is 0, and what comes in is random: sums of outputs and of
squares hide mistakes in layer norm.
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
        tensor: the gradient that it is about.
        words: "sum over the features of dx", to be followed by "is 6.8, should be 0".
        value: from the arguments, what comes in and the gradients to the numbers that must vanish.
    """

    tensor: str
    words: str
    value: Callable[[Tensors, Any, Tensors], Any]

    def broken(self, arguments: Tensors, dy: Any, gradients: Tensors) -> float | None:
        """The largest deviation, with its sign, or None where there is none to speak of."""
        values = np.ravel(np.asarray(self.value(arguments, dy, gradients)))
        worst = float(values[np.argmax(np.abs(values))])
        return worst if abs(worst) > 1e-4 * float(np.abs(gradients[self.tensor]).max()) else None


@dataclass(frozen=True)
class Exercise:
    """One exercise of the catalogue.

    Attributes:
        name: of the file, without `.py`.
        point: draws the arguments of `forward` (or of `function`), by name and in their order.
        wanted: the arguments whose gradients are asked for, in the order in which they are returned; of a function
            other than `backward`, what it returns.
        invariants: what is known of the gradients without computing them.
        function: what the reader writes.
        incoming: what comes in, as the file calls it.
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


def flat(values: dict[str, Tree]) -> Tensors:
    """The leaves of trees by name and path: `{"dx": ..., "dparams/norm_1/gamma": ...}`."""
    found = {}
    for name, tree in values.items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            found[f"{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}".rstrip("/")] = leaf
    return found


def unflat(tensors: Tensors, like: dict[str, Tree]) -> dict[str, Tree]:
    """Trees as in `like`, with the leaves of `tensors`."""
    return {
        name: jax.tree.unflatten(jax.tree.structure(tree), [tensors[leaf] for leaf in flat({name: tree})])
        for name, tree in like.items()
    }


def close(a: Any, b: Any) -> bool:
    """Whether two arrays are the same but for rounding."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= 1e-9 * np.abs(b).max(initial=0))


def named_sizes(arguments: dict[str, Tree]) -> dict[str, float]:
    """What a wrong factor may be made of."""
    return {**SIZES, "rows": math.prod(np.shape(next(iter(flat(arguments).values())))[:-1])}
