"""Checkpoints: the gradients on the way back through a layer, by the names that reader and solution give them.

A local variable of the reader's backward that has the name of one of the solution's, such as `dscores`, is compared
with it. The reader does nothing for that: the assignments are recorded while the function runs. So the check can say
which gradient is the first that is wrong, and it can say so of half a backward.

A name may be used more than once (`dscores` with and without its factor, a sum that is built up term by term). Any
value that the solution gives to the name counts as right, and so do those that the answer's file lists; of the
reader's values the last one of such a shape is judged.
"""

import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from exercises.machinery.answers import FOLDER, load_answer
from exercises.machinery.catalogue import solution_module
from exercises.machinery.exercise import Exercise, nearly_equal
from exercises.machinery.runner import Run, run

WIDTH = 76  # of lines that are printed with an indentation


class Checkpoint(NamedTuple):
    """A gradient that the reader has named as the solution does, and the line that assigned it."""

    name: str
    line: int
    right: bool


def incoming_gradient(y: Any) -> jax.Array:
    """The gradient that a backward is given: random, the same in every check."""
    return jnp.asarray(np.random.default_rng(1).normal(size=np.shape(y)))


@cache
def accepted(exercise: Exercise, seed: int = 0) -> Mapping[str, list[Any]]:
    """What each gradient on the way back may be, by the name of the variable, in the order of the solution."""
    if not exercise.is_backward:
        return {}
    answer, module = load_answer(exercise.name), solution_module(exercise.name)
    y, forward_cache = module.forward(*exercise.arguments(seed).values())
    inputs = (forward_cache, incoming_gradient(y))
    result = run(module.backward, inputs, answer.source, FOLDER / f"{exercise.name}.rot13")
    values: dict[str, list[Any]] = {}
    for _, name, value in result.assigned:
        if name.startswith("d") and _is_array(value):
            values.setdefault(name, []).append(value)
    last = {name: value for _, name, value in result.assigned}
    for name, expression in answer.checkpoints:
        values[name].append(eval(expression, {**module.__dict__, **last}))
    return values


def names_on_the_way(exercise: Exercise) -> list[str]:
    """The checkpoints of an exercise apart from what it asks for."""
    return [name for name in accepted(exercise) if name not in exercise.returns]


def compared(exercise: Exercise, seed: int, written: Run) -> list[Checkpoint]:
    """The reader's checkpoints, in the order in which they were last assigned."""
    found: dict[str, Checkpoint] = {}
    for line, name, value in written.assigned:
        right = accepted(exercise, seed).get(name, [])
        if _is_array(value) and any(np.shape(value) == np.shape(each) for each in right):
            found.pop(name, None)
            found[name] = Checkpoint(name, line, any(nearly_equal(value, each) for each in right))
    return list(found.values())


def told(checkpoints: list[Checkpoint], returns: tuple[str, ...]) -> list[str]:
    """Lines for the reader on what is right on the way back and where it goes wrong; none if no name says anything."""
    if all(point.name in returns for point in checkpoints):
        return []
    wrong = next((i for i, point in enumerate(checkpoints) if not point.right), len(checkpoints))
    before = ", ".join(point.name for point in checkpoints[:wrong])
    if wrong == len(checkpoints):
        sentence = f"on the way back: right so far: {before}"
    else:
        first = checkpoints[wrong]
        sentence = f"on the way back: {first.name} (line {first.line}) is the first that is wrong"
        sentence += f"; right before it: {before}" if before else ""
    return textwrap.wrap(sentence, WIDTH, subsequent_indent="  ")


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray) and np.issubdtype(np.asarray(value).dtype, np.number)
