"""Running the reader's file: whatever goes wrong in it becomes one message that names the line."""

import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

# What to ask beside an exception that is raised far more often for one reason than for any other.
QUESTIONS = {
    "incompatible types for matmul": "`.T` turns all axes round. Is it .swapaxes(-1, -2) that is meant, or rows first, "
    "by .reshape(-1, D)?",
    "incompatible shapes for broadcasting": "has a sum or a mean lost its axis? keepdims=True keeps it",
}


class ReaderError(Exception):
    """Something in the reader's file that is to be mended before numbers can be compared."""


class NotWrittenError(Exception):
    """The reader has not begun yet."""


def read(path: Path) -> str:
    """The text of a reader's file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReaderError(f"{path} is not there: python -m exercises reset {path.stem} brings it back") from None
    except UnicodeDecodeError:
        raise ReaderError(f"{path} is no UTF-8 text") from None


def load(source: str, path: Path) -> types.ModuleType:
    """The module made of `source`. `path` is where it comes from, for messages.

    Raises:
        ReaderError: it is no Python, or running it raises something.
    """
    try:
        code = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ReaderError(f"{_at(path, source, line)}no valid Python: {getattr(error, 'msg', error)}") from None
    module = types.ModuleType(path.stem)
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise failed(error, source, path) from None
    return module


def function_of(module: types.ModuleType, name: str) -> Callable[..., Any]:
    """A function of the reader's module."""
    function = getattr(module, name, None)
    if not isinstance(function, types.FunctionType):
        raise ReaderError(f"there is no function `{name}` any more: python -m exercises reset {module.__name__}")
    return function


def failed(error: BaseException, source: str, path: Path) -> ReaderError | NotWrittenError:
    """What an exception out of the reader's code becomes."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, NotImplementedError) and not error.args:
        return NotWrittenError()
    told = " ".join(str(error).split())
    told = told if len(told) <= 300 else f"{told[:300]} ..."
    asked = next((f"\n{question}" for words, question in QUESTIONS.items() if words in told.lower()), "")
    line = frames[-1].lineno if frames else None
    return ReaderError(f"{_at(path, source, line)}{type(error).__name__}: {told}{asked}")


def _at(path: Path, source: str, line: int | None) -> str:
    lines = source.splitlines()
    code = f": `{lines[line - 1].strip()}`" if line and line <= len(lines) else ""
    return f"line {line}{code}\n  " if line else ""


@dataclass
class Run:
    """A call of the reader's function: what it returned, and which line gave each of its variables their values."""

    returned: Any = None
    last_line: int = 0
    assigned: list[tuple[int, str, Any]] = field(default_factory=list)

    def line_of(self, value: Any) -> int:
        """The line that made this very value; that of the `return` if no variable holds it."""
        return next((line for line, _, held in self.assigned if held is value), self.last_line)

    def first_not_finite(self) -> tuple[int, str]:
        """The first line that makes NaN or infinity, and the variable that it made so."""
        return next(((line, name) for line, name, held in self.assigned if _not_finite(held)), (self.last_line, ""))


def run(function: Callable[..., Any], arguments: tuple[Any, ...], source: str, path: Path) -> Run:
    """Call a function of the reader and watch its variables.

    Raises:
        NotWrittenError: it is still empty.
        ReaderError: it raises something.
    """
    watched, result = function.__code__, Run()
    seen: dict[str, Any] = {}

    def watch(frame: types.FrameType, event: str, argument: Any) -> Any:
        if frame.f_code is not watched:
            return None
        for name, value in frame.f_locals.items():
            if event == "call" or seen.get(name) is not value:
                seen[name] = value
                if event != "call":
                    result.assigned.append((result.last_line, name, value))
        result.last_line = frame.f_lineno
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        result.returned = function(*arguments)
    except (Exception, SystemExit) as error:
        sys.settrace(before)
        raise failed(error, source, path) from None
    finally:
        sys.settrace(before)
    return result


def _not_finite(value: Any) -> bool:
    if not isinstance(value, jax.Array | np.ndarray | float):
        return False
    return bool(np.issubdtype(np.asarray(value).dtype, np.floating) and not np.isfinite(value).all())
