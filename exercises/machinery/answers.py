"""The answers: solution, explanation, hints and typical mistakes, one file per exercise.

They are stored in ROT13, so that nobody reads a solution by accident, in an editor's search or in a diff. ROT13 keeps
the lines, so a change of one line is a diff of one line. To read or write one:

    tr A-Za-z N-ZA-Mn-za-m < exercises/answers/layer_norm.rot13

A file is a sequence of sections, each under a line that begins with `===`:

    === file               the reader's file with the solution in it; what it asks for is the last function
    === explanation        shown after success
    === hint               three of them: a question, a picture, a line of the solution
    === mistake QUESTION   a wrong version, and the question that its author is asked; `- code` is replaced by `+ code`
    === checkpoint NAME    another right value of a gradient on the way back, an expression in the solution's variables
    === mutant FILE: MISTAKE   for a fault to find: the mutant of checks/mutants.yml that is planted

The reader's file is the solution without the body of its last function. After a change of an answer,
`python -m exercises reset NAME` writes the reader's file again.
"""

import ast
import codecs
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "answers"
TO_DO = "    raise NotImplementedError  # yours to write\n"


@dataclass(frozen=True)
class Mistake:
    """A wrong version of a solution, and the question that leads away from it."""

    question: str
    source: str


@dataclass(frozen=True)
class Answer:
    """What belongs to one exercise. `source` is the reader's file with the solution in it."""

    source: str
    explanation: str
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    mutant: str = ""
    checkpoints: tuple[tuple[str, str], ...] = ()

    @property
    def stub(self) -> str:
        """The reader's file: the last function has its docstring and no body."""
        lines = self.source.splitlines(keepends=True)
        function = self._last_function()
        return "".join(lines[: function.body[0].end_lineno]) + TO_DO

    @property
    def solution(self) -> str:
        """The last function, with the body that solves the exercise."""
        return "".join(self.source.splitlines(keepends=True)[self._last_function().lineno - 1 :])

    def _last_function(self) -> ast.FunctionDef:
        function = ast.parse(self.source).body[-1]
        assert isinstance(function, ast.FunctionDef), "the answer's file must end with the function to write"
        return function


@cache
def load_answer(name: str) -> Answer:
    """The answer to an exercise by its name."""
    return parse(codecs.decode((FOLDER / f"{name}.rot13").read_text(encoding="utf-8"), "rot13"))


def parse(text: str) -> Answer:
    """An answer from the text of its file.

    Raises:
        ValueError: an unknown section, or a mistake that replaces code which does not occur exactly once.
    """
    source, explanation, mutant = "", "", ""
    hints: list[str] = []
    mistakes: list[Mistake] = []
    checkpoints: list[tuple[str, str]] = []
    for section in ("\n" + text).split("\n=== ")[1:]:
        header, _, body = section.partition("\n")
        kind, _, rest = header.partition(" ")
        body = body.strip("\n") + "\n"
        if kind == "file":
            source = body
        elif kind == "explanation":
            explanation = body
        elif kind == "hint":
            hints.append(body)
        elif kind == "mistake":
            mistakes.append(Mistake(rest, _patched(source, body)))
        elif kind == "checkpoint":
            checkpoints.append((rest, body.strip()))
        elif kind == "mutant":
            mutant = rest
        else:
            raise ValueError(f"unknown section {kind!r}")
    return Answer(source, explanation, tuple(hints), tuple(mistakes), mutant, tuple(checkpoints))


def _patched(source: str, body: str) -> str:
    lines = body.splitlines()
    for find, put in zip(lines[::2], lines[1::2], strict=True):
        if not (find.startswith("- ") and put.startswith("+ ") and source.count(find[2:]) == 1):
            raise ValueError(f"{find[2:]!r} occurs {source.count(find[2:])} times, not once, or has no `+` line")
        source = source.replace(find[2:], put[2:])
    return source
