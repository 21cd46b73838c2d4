"""The answers: solution, explanation, hints and the mistakes that people make, one file an exercise.

They are kept in ROT13, so that nobody reads a solution by accident, in an editor's search or in a diff, and yet line by
line, so that a change of one line is a diff of one line. To read or to write one:

    tr A-Za-z N-ZA-Mn-za-m < exercises/answers/layer_norm.rot13

A file is a row of sections, each under a line that begins with `===`:

    === file               the reader's file with the solution in it; what it asks for is the last function
    === explanation        shown after success
    === hint               three of them: a question, a picture, a line
    === mistake QUESTION   a wrong version and what to ask who wrote it; `- code` in the file becomes `+ code`
    === mutant FILE: MISTAKE   of a fault to find: the mutant of checks/mutants.yml that is planted

The reader's file is the solution without the body of its last function; `python -m exercises reset NAME` writes it,
also after a change in here.
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

    @property
    def stub(self) -> str:
        """The reader's file: the last function has its docstring and no body."""
        lines = self.source.splitlines(keepends=True)
        function = self._last_function()
        return "".join(lines[: function.body[0].end_lineno]) + TO_DO

    @property
    def solution(self) -> str:
        """The last function, as it was solved."""
        return "".join(self.source.splitlines(keepends=True)[self._last_function().lineno - 1 :])

    def _last_function(self) -> ast.FunctionDef:
        function = ast.parse(self.source).body[-1]
        assert isinstance(function, ast.FunctionDef), "the last thing in an answer's file must be the function to write"
        return function


@cache
def load_answer(name: str) -> Answer:
    """The answer to an exercise by its name."""
    return parse(codecs.decode((FOLDER / f"{name}.rot13").read_text(encoding="utf-8"), "rot13"))


def parse(text: str) -> Answer:
    """An answer from the text of its file.

    Raises:
        ValueError: a mistake replaces code that is not there exactly once.
    """
    source, explanation, mutant = "", "", ""
    hints: list[str] = []
    mistakes: list[Mistake] = []
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
        elif kind == "mutant":
            mutant = rest
        else:
            raise ValueError(f"a section cannot be called {kind!r}")
    return Answer(source, explanation, tuple(hints), tuple(mistakes), mutant)


def _patched(source: str, body: str) -> str:
    lines = body.splitlines()
    for find, put in zip(lines[::2], lines[1::2], strict=True):
        if not (find.startswith("- ") and put.startswith("+ ") and source.count(find[2:]) == 1):
            raise ValueError(f"{find[2:]!r} is there {source.count(find[2:])} times, not once, or it is not replaced")
        source = source.replace(find[2:], put[2:])
    return source
