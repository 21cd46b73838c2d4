"""What is checked: a function of named tensors, the hand-derived gradient, and the point at which to check it.

Every gradient in this package is that of one number, `<w, f(tensors)>`, with respect to every tensor. The cotangent
`w` is random: with all ones a layer norm's output sums to a constant, and no mistake in its backward could be seen.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from verify.errors import CheckError

Tensors = dict[str, Any]
"""Arrays by name, as in `{"qkv/W": ..., "x": ...}`."""

Region = tuple[slice, ...]
"""A part of a tensor, as in `(slice(None), slice(0, 4))`."""

Regions = Mapping[str, tuple[tuple[str, Region], ...]]
"""By tensor, the parts that are judged separately, each with its name."""


class Function(Protocol):
    """A differentiable function with the gradient to be checked.

    Hashable, so that equal functions are compiled once. `constants` holds what is not differentiated, such as a dropout
    key or labels.
    """

    def __hash__(self) -> int: ...

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        """The output, of any shape."""
        ...

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        """The hand-derived gradient of `<dy, value>`, under the names of `tensors`."""
        ...


@dataclass(frozen=True)
class Case:
    """One check to make.

    Attributes:
        name: unique; it also seeds the random numbers of the case, so that they do not depend on which others are run.
        tensors: the point, float64.
        constants: what is not differentiated.
        sizes: the sizes that a wrong factor may be made of, as in `{"B": 3, "K": 6}`.
        regions: parts of tensors that are judged separately.
        target: the class under test.
        contains: the classes of everything inside the target, to tell a wrong class from one that only contains it.
        gradients: if they are known already, those of the sum of the outputs and of `probe.MULTIPLE` times it;
            `function.gradient` is then not called.
        rounding: beside `gradients`, by name how much rounding changes them (see verify/rounding.py); called at need.
    """

    name: str
    function: Function
    tensors: Tensors
    constants: Tensors = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)
    regions: Regions = field(default_factory=dict)
    target: str = ""
    contains: frozenset[str] = frozenset()
    gradients: tuple[Tensors, Tensors] | None = None
    rounding: Callable[[], Tensors] | None = None

    def random(self, seed: int) -> np.random.Generator:
        """Random numbers that depend on the seed and the name alone."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])


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
    """The leaves of a tree by their path, as in `qkv/W`; a lone array is called `x`.

    Raises:
        CheckError: two leaves get the same name, as in `{"a/b": x, "a": {"b": y}}`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = {jax.tree_util.keystr(path, simple=True, separator="/") or "x": leaf for path, leaf in leaves}
    if len(found) < len(leaves):
        raise CheckError(f"two arrays have the same name ({', '.join(found)}): use keys without / that are not empty")
    return found
