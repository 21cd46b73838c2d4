"""A look into a program that JAX has traced: its operations, and the programs inside them."""

from collections.abc import Iterator
from typing import Any

import jax


def primitives(jaxpr: Any) -> Iterator[str]:
    """The names of all operations of a traced program, those of the programs inside it included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in inner_programs(equation):
            yield from primitives(inner)


def inner_programs(equation: Any) -> Iterator[Any]:
    """The programs inside an operation, such as the body of a loop."""
    for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
        inner = getattr(inner, "jaxpr", inner)
        if hasattr(inner, "eqns"):
            yield inner
