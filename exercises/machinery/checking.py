"""Checking one exercise, in stages from cheap to thorough. The first stage that fails gives the message.

The stages: syntax; exceptions; names, shapes and types; NaN; the known wrong versions of this exercise; linearity in
the incoming gradient; invariants; a diagnosis from the pattern of the difference. What passes all of these is compared
with measured derivatives by the gradient checker of this project, every entry and in random directions.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from exercises.machinery.answers import FOLDER, load_answer
from exercises.machinery.catalogue import solution_module
from exercises.machinery.checkpoints import Checkpoint, compared, incoming_gradient, told
from exercises.machinery.exercise import Exercise, flatten, named_sizes, nearly_equal
from exercises.machinery.measuring import measure
from exercises.machinery.outcome import Outcome
from exercises.machinery.runner import (
    NotStartedError,
    NotWrittenError,
    ReaderError,
    Run,
    StoppedError,
    function_of,
    load,
    read,
    run,
)
from exercises.machinery.sources import without_axis
from verify.case import Tensors
from verify.diagnosis import Evidence, diagnose, wrong_shape
from verify.probe import MULTIPLE
from verify.results import wrong_lines

SHOWN = 3  # mistakes that are explained; of the others only the gradients are named


def check(exercise: Exercise, path: Path, reveal: bool = False, measured: bool = True) -> Outcome:
    """Check the reader's file. `reveal` shows the true value too; `measured=False` skips the last stage."""
    checker, wrong = None, set(_asked_for(exercise))  # without a result, all of it is wrong
    state: Literal["passed", "to do", "wrong"] = "wrong"
    try:
        checker = _Check(exercise, path, reveal)
        lines = checker.problems(measured)
        wrong = checker.wrong
        state = "wrong" if lines else "passed"
    except NotWrittenError:
        begun = checker is not None and checker.run.assigned
        lines = [f"`{exercise.function}` in {path} is {'not finished' if begun else 'still empty'}"]
        state = "wrong" if checker and any(not point.right for point in checker.on_the_way()) else "to do"
    except NotStartedError as error:
        lines, state = [str(error)], "to do"
    except ReaderError as error:
        lines = str(error).splitlines()
    way = checker.on_the_way() if checker else []
    if lines:
        lines += told(way, exercise.returns)
    parts = {name: name not in wrong for name in _asked_for(exercise)}
    return Outcome(state, tuple(lines), parts, {point.name: point.right for point in way})


@cache
def _asked_for(exercise: Exercise) -> list[str]:
    """The names of the arrays that an exercise asks for."""
    if not exercise.is_backward:
        return list(expected(exercise, 0))
    arguments = exercise.arguments()
    return list(flatten({f"d{name}": arguments[name] for name in exercise.wanted}))


class _Check:
    def __init__(self, exercise: Exercise, path: Path, reveal: bool) -> None:
        self.exercise, self.path, self.reveal = exercise, path, reveal
        self.source = read(path)
        self.module = load(self.source, path)
        self.written = function_of(self.module, exercise.function)
        self.seed = 0
        self.run = Run()
        self.wrong: set[str] = set()  # what is asked for and is wrong

    def problems(self, measured: bool) -> list[str]:
        """What is wrong, as lines to print; empty if nothing is."""
        for seed in (0,) if self.exercise.is_backward else range(4):
            arguments = self.exercise.arguments(seed)
            lines = self._problems_at(seed, arguments)
            if lines:
                return lines
        if self.exercise.is_backward and measured:
            return self._measured(arguments)
        return []

    def on_the_way(self) -> list[Checkpoint]:
        """The gradients that the reader's function has named, as far as it came."""
        return compared(self.exercise, self.seed, self.run)

    def _run(self, inputs: tuple[Any, ...]) -> Run:
        try:
            return run(self.written, inputs, self.source, self.path)
        except StoppedError as error:
            self.run = error.run or self.run
            raise

    def _problems_at(self, seed: int, arguments: dict[str, Any]) -> list[str]:
        self.seed, self.arguments = seed, arguments
        self.incoming: Any = None
        inputs: tuple[Any, ...] = tuple(arguments.values())
        if self.exercise.is_backward:
            y, self.cache = self._forward(inputs)
            self.incoming = incoming_gradient(y)
            inputs = (self.cache, self.incoming)
        self.right = expected(self.exercise, seed)
        self.run = self._run(inputs)
        found = self._gradients(self.run.returned)
        problems = self._known(found)
        for name, right in self.right.items():
            if name not in problems and not _fine(found[name], right):
                problems[name] = self._unknown(name, found[name], found)
        self.wrong = set(problems)
        if problems:
            return list(self._report(problems, found))
        return self._not_linear(found) if self.exercise.is_backward else []

    def _forward(self, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
        """The reader's forward: it may cache more, but must return the same output as the original."""
        result = run(function_of(self.module, "forward"), inputs, self.source, self.path).returned
        right, _ = solution_module(self.exercise.name).forward(*inputs)
        if not (isinstance(result, tuple) and len(result) == 2 and nearly_equal(result[0], right)):
            raise ReaderError(
                "`forward` no longer returns what it did. Only its cache may change; "
                f"python -m exercises reset {self.exercise.name} restores the file, and keeps yours"
            )
        return result

    def _gradients(self, returned: Any) -> Tensors:
        """What the reader's function returned, by name."""
        names = self.exercise.returns
        asked = f"asked for: {', '.join(names)}"
        if returned is None:
            raise ReaderError(f"`{self.exercise.function}` returns nothing: is there a `return`? {asked}")
        values = returned if isinstance(returned, tuple) else (returned,)
        if len(values) != len(names):
            count = "one value" if len(values) == 1 else f"{len(values)} values"
            raise ReaderError(f"line {self.run.last_line}: `{self.exercise.function}` returns {count}; {asked}")
        found = flatten(dict(zip(names, values, strict=True)))
        missing, extra = self.right.keys() - found.keys(), found.keys() - self.right.keys()
        if missing or extra:
            problems = [f"{n} is missing" for n in sorted(missing)] + [f"{n} is not asked for" for n in sorted(extra)]
            raise ReaderError(f"line {self.run.last_line}: {'; '.join(problems)}")
        for name, value in found.items():
            if not np.issubdtype(np.asarray(value).dtype, np.number):
                raise ReaderError(f"line {self.run.last_line}: {name} is not an array of numbers, but {value!r:.60}")
        return found

    def _known(self, found: Tensors) -> dict[str, str]:
        """The gradients that equal those of a known wrong version, each with its question."""
        problems: dict[str, str] = {}
        for question, wrong in _wrong_versions(self.exercise, self.seed):
            for name, value in wrong.items():
                if name in found and name not in problems and nearly_equal(found[name], value):
                    problems[name] = self._invariants(name, found) + question
        return problems

    def _unknown(self, name: str, found: Any, gradients: Tensors) -> str:
        """What is wrong with a gradient that matches no known wrong version."""
        right, value = np.asarray(self.right[name]), np.asarray(found)
        line = self.run.line_of(found)
        other = next((n for n, gradient in self.right.items() if n != name and nearly_equal(value, gradient)), None)
        if other is not None:
            return f"this is {other}, in place of {name}: in which order are they asked for?"
        if value.shape != right.shape:
            return f"line {line}: {_renamed(wrong_shape(value.shape, right.shape))}"
        if value.dtype != right.dtype:
            return f"line {line}: it is {value.dtype}, and everything else is {right.dtype}: was it converted?"
        if not np.isfinite(value).all():
            line, variable = self.run.first_not_finite()
            return f"line {line}: NaN or infinity first appears here{f', in {variable}' if variable else ''}"
        linear = self._not_linear(gradients) if self.exercise.is_backward else []
        if linear:
            return linear[0]
        sums = without_axis(self.source, self.exercise.function)
        if sums and not without_axis(load_answer(self.exercise.name).source, self.exercise.function):
            return f"{sums} Along which axis should it?"
        return self._invariants(name, gradients) + self._diagnosis(value, right)

    def _invariants(self, name: str, gradients: Tensors) -> str:
        """A sentence on what should be zero and is not; empty if there is nothing."""
        if self.incoming is None or np.shape(gradients[name]) != np.shape(self.right[name]):
            return ""
        for invariant in self.exercise.invariants:
            if invariant.tensor == name:
                worst = invariant.broken(self.arguments, self.incoming, gradients)
                if worst is not None:
                    return f"{invariant.words} is {worst:.3g}, should be 0. "
        return ""

    def _not_linear(self, found: Tensors) -> list[str]:
        """A backward is linear in the incoming gradient: what is wrong if this one is not."""
        multiple = self._again(MULTIPLE * self.incoming)
        off = [
            name
            for name, value in found.items()
            if np.isfinite(value).all() and not nearly_equal(np.asarray(multiple[name]) / MULTIPLE, value)
        ]
        self.wrong |= set(off)
        if not off:
            return []
        incoming = self.exercise.incoming
        if all(nearly_equal(multiple[name], found[name]) for name in off):
            return [f"{', '.join(off)}: {incoming} is never used: what has come back from the loss must go in"]
        return [f"{', '.join(off)}: not linear in {incoming}: how can a slope depend on what is multiplied by it?"]

    def _again(self, incoming: Any) -> Tensors:
        returned = run(self.written, (self.cache, incoming), self.source, self.path).returned
        return self._gradients(returned)

    def _diagnosis(self, value: np.ndarray, right: np.ndarray) -> str:
        others = {name: np.asarray(array) for name, array in flatten(self.arguments).items()}
        wrong = np.abs(value - right) > 1e-9 * np.abs(right).max(initial=0)
        if self.incoming is not None:
            others[self.exercise.incoming] = others["dy"] = np.asarray(self.incoming)
        sizes = named_sizes(self.arguments)
        return diagnose(Evidence(value, right, wrong, right.shape, sizes, others))

    def _report(self, problems: dict[str, str], found: Tensors) -> Iterator[str]:
        """The mistakes, each with the gradients that it affects, an index and the reader's value there."""
        by_mistake: dict[str, list[str]] = {}
        for name in self.right:
            if name in problems:
                by_mistake.setdefault(problems[name], []).append(name)
        for problem, names in list(by_mistake.items())[:SHOWN]:
            yield f"{', '.join(names)}: {problem}"
            yield example(names[0], found[names[0]], self.right[names[0]], self.reveal)
        for names in list(by_mistake.values())[SHOWN:]:
            yield f"{', '.join(names)}: also wrong"

    def _measured(self, arguments: dict[str, Any]) -> list[str]:
        """What the gradient checker finds wrong; it measures every entry."""
        result = measure(self.exercise, arguments, self.incoming, self._again)
        if result.passed:
            return []
        self.wrong = {f"d{tensor.name}" for tensor in result.wrong} or set(self.right)
        lines = [line for tensor in result.wrong[:SHOWN] for line in wrong_lines(tensor)]
        return lines or [f"the checker cannot decide: {result.note or result.verdict}"]


def example(name: str, value: Any, right: Any, reveal: bool) -> str:
    """A line with the worst entry of a wrong gradient and the reader's value there."""
    right, value = np.asarray(right), np.asarray(value)
    if value.shape != right.shape:
        return f"  {name} has shape {value.shape}; asked for is {right.shape}"
    error = np.where(np.isfinite(value), np.abs(value - right), np.inf)
    where = np.unravel_index(np.argmax(error), right.shape)
    index = f"[{', '.join(str(int(i)) for i in where)}]" if where else ""
    true = f"; the true value is {right[where]:.6g}" if reveal else ""
    return f"  your {name}{index} is {value[where]:.6g}{true}"


def expected(exercise: Exercise, seed: int) -> Tensors:
    """What the solution returns at this point, by name."""
    return _results(exercise, load_answer(exercise.name).source, seed)


@cache
def _wrong_versions(exercise: Exercise, seed: int) -> list[tuple[str, Tensors]]:
    """The question of each wrong version, with the gradients that it gets wrong."""
    right = expected(exercise, seed)
    versions = []
    for mistake in load_answer(exercise.name).mistakes:
        wrong = _results(exercise, mistake.source, seed)
        versions.append((mistake.question, {name: v for name, v in wrong.items() if not _fine(v, right.get(name))}))
    return versions


def _results(exercise: Exercise, source: str, seed: int) -> Tensors:
    module = load(source, FOLDER / f"{exercise.name}.rot13")
    inputs: tuple[Any, ...] = tuple(exercise.arguments(seed).values())
    if exercise.is_backward:
        y, forward_cache = solution_module(exercise.name).forward(*inputs)
        inputs = (forward_cache, incoming_gradient(y))
    returned = getattr(module, exercise.function)(*inputs)
    values = returned if isinstance(returned, tuple) else (returned,)
    return flatten(dict(zip(exercise.returns, values, strict=True)))


def _fine(found: Any, right: Any) -> bool:
    if right is None or np.asarray(found).dtype != np.asarray(right).dtype or not np.isfinite(found).all():
        return False
    scale = np.abs(np.asarray(right)).max(initial=0)
    return nearly_equal(found, right) or (
        np.shape(found) == np.shape(right) and scale < 1e-12 > np.abs(found).max(initial=0)
    )


def _renamed(message: str) -> str:
    """The checker's messages name a tensor and its gradient; here the gradient has a name of its own."""
    return message.replace(" it has shape", " it should have").replace("its gradient has shape", "it has shape")
