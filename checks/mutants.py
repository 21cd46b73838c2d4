"""Mutation testing of the checks: known mistakes, planted in the backward passes one at a time.

The mistakes are data, in mutants.yml: each is a patch of a few words. The patched source of a layer is compiled in
memory, and its methods replace the right ones while the checks of that layer run. No file is changed.
"""

import importlib
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.definitions import definition_results
from training.yaml_text import parse_yaml, read_utf8
from verify.case import Case
from verify.check import Checker
from verify.errors import CheckError
from verify.measure import Plan
from verify.results import CaseResult

LIST = Path(__file__).with_name("mutants.yml")
ROOT = LIST.parent.parent


@dataclass(frozen=True)
class Mutant:
    """One mistake: patches `(find, put)` of the source of `file`, a path from the root of the project."""

    file: str
    mistake: str
    patches: tuple[tuple[str, str], ...]

    @property
    def module(self) -> Any:
        return importlib.import_module(self.file.removesuffix(".py").replace("/", "."))

    def source(self) -> str:
        """The source with the mistake in it.

        Raises:
            CheckError: a text to be replaced does not occur exactly once: the file has changed since the mutant was
                written.
        """
        source = (ROOT / self.file).read_text(encoding="utf-8")
        for find, put in self.patches:
            if source.count(find) != 1:
                raise CheckError(
                    f"{LIST.name}: {self.file} has {source.count(find)} places with {find!r}, not one, to plant "
                    f"{self.mistake!r}: adapt the mutant to the changed file"
                )
            source = source.replace(find, put)
        return source


@dataclass
class MutantResult:
    """The outcome of one mutant on `cases` cases. `caught` holds the results with verdict wrong."""

    mutant: Mutant
    cases: int
    caught: list[CaseResult] = field(default_factory=list)

    @property
    def survived(self) -> bool:
        return not self.caught

    @property
    def methods(self) -> list[str]:
        """The methods that caught it, in any case."""
        seen = {m.method: None for c in self.caught for t in c.wrong for m in t.methods if m.verdict == "wrong"}
        return list(seen)


def load_mutants(path: Path = LIST) -> list[Mutant]:
    """The mutants of a file like mutants.yml, in its order."""
    listed = parse_yaml(read_utf8(path), str(path))
    mutants = []
    for file, entries in listed.items():
        for entry in entries:
            patches = tuple((patch["find"], patch["put"]) for patch in (entry, *entry.get("and", ())))
            mutants.append(Mutant(file, entry["mistake"], patches))
    return mutants


def mutants_by_name() -> dict[tuple[str, str], Mutant]:
    """The mutants of mutants.yml by their file and their mistake."""
    return {(mutant.file, mutant.mistake): mutant for mutant in load_mutants()}


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """A context in which the engine has the mistake, for all threads of the process."""
    module = mutant.module
    namespace: dict[str, Any] = {"__name__": module.__name__, "__file__": str(ROOT / mutant.file)}
    exec(compile(mutant.source(), mutant.file, "exec"), namespace)
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, function in _functions(module, namespace):
            replaced.append((owner, name, vars(owner)[name]))
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in replaced:
            setattr(owner, name, function)


def _functions(module: Any, namespace: dict[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Functions of the patched source, each with its owner (the module or one of its classes) and its name there."""
    for name, value in namespace.items():
        right = vars(module).get(name)
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield module, name, value
        elif isinstance(value, type) and isinstance(right, type) and value.__module__ == module.__name__:
            for attribute, function in vars(value).items():
                if isinstance(function, types.FunctionType) and not attribute.startswith("__"):
                    yield right, attribute, function


class MutantCheck:
    """Tries mutants on cases. The numeric gradients are measured once, on the unchanged engine.

    A mutant is tried on the cases whose target is defined in its file, as thoroughly as `plan` says.
    """

    def __init__(self, cases: Sequence[Case], seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self._checkers = {case.name: Checker(case, seed, plan or Plan()) for case in cases}
        self._targets = {case.name: case.target for case in cases}
        self._measured: dict[str, CaseResult] = {}
        self._defined: set[str] = set()  # files whose definitions were checked without any mistake

    @property
    def baseline(self) -> list[CaseResult]:
        """The results of the unchanged engine, for the cases that were used."""
        return list(self._measured.values())

    def check(self, mutant: Mutant, once: bool = False) -> MutantResult:
        """Plant the mutant and run the cases that concern it; with `once`, only until one of them has caught it."""
        definitions = mutant.file.startswith("optim/")
        if definitions and mutant.file not in self._defined:
            self._measured |= {result.name: result for result in self._definitions(mutant)}
            self._defined.add(mutant.file)
        results: list[CaseResult] = []
        for name in self._names(mutant):
            if name not in self._measured:
                self._measured[name] = self._checkers[name].check()
            with planted(mutant):
                results.append(self._checkers[name].check(fresh=True))
            if once and results[-1].wrong:
                break
        if definitions:
            with planted(mutant):
                results += self._definitions(mutant)
        return MutantResult(mutant, len(results), [result for result in results if result.wrong])

    def _definitions(self, mutant: Mutant) -> list[CaseResult]:
        return definition_results(self.seed, targets=vars(mutant.module))

    def _names(self, mutant: Mutant) -> list[str]:
        defined = {n for n, v in vars(mutant.module).items() if getattr(v, "__module__", "") == mutant.module.__name__}
        return [name for name, target in self._targets.items() if target in defined]
