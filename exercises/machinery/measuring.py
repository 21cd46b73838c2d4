"""The last stage of a check: the reader's gradients against measured derivatives, by the gradient checker."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from exercises.machinery.catalogue import find_exercise, solution_module
from exercises.machinery.exercise import Exercise, flatten, named_sizes, unflatten
from verify.case import Case, Tensors
from verify.check import check_case
from verify.probe import MULTIPLE
from verify.results import CaseResult


@dataclass(frozen=True)
class Weighted:
    """The forward of an exercise with weighted outputs: the sum of the outputs is then `<weights, y>`.

    The checker compiles it. The reader's backward runs beforehand, uncompiled, so it may use NumPy.
    """

    exercise: str

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        exercise = find_exercise(self.exercise)
        arguments = unflatten({**tensors, **constants}, exercise.arguments())
        y, _ = solution_module(self.exercise).forward(*arguments.values())
        return y * constants["weights"]

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        raise AssertionError("the gradients are given with the case")


def measure(
    exercise: Exercise, arguments: dict[str, Any], incoming: Any, gradients: Callable[[Any], Tensors]
) -> CaseResult:
    """What the gradient checker says of `gradients(incoming)`, by name; every entry is measured."""
    leaves = {name: np.asarray(leaf) for name, leaf in flatten(arguments).items()}
    wanted = [name for name in leaves if name.partition("/")[0] in exercise.wanted]
    once, multiple = (
        {name: np.asarray(found[f"d{name}"]) for name in wanted}
        for found in (gradients(incoming), gradients(MULTIPLE * incoming))
    )
    constants = {name: leaf for name, leaf in leaves.items() if name not in wanted}
    case = Case(
        exercise.name, Weighted(exercise.name), {name: leaves[name] for name in wanted},
        {**constants, "weights": np.asarray(incoming)}, named_sizes(arguments), gradients=(once, multiple),
    )  # fmt: skip
    return check_case(case, 0)
