"""Running the reader's code: every error in it becomes one message that names the line."""

import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

# Questions that are added to exceptions which nearly always have the same cause.
QUESTIONS = {
    "incompatible types for matmul": "`.T` reverses all axes. Do you mean .swapaxes(-1, -2), or .reshape(-1, D) first?",
    "incompatible shapes for broadcasting": "has a sum or a mean lost its axis? keepdims=True keeps it",
}


class StoppedError(Exception):
    """The reader's function ended without a result. `run` holds what it had assigned until then, if it was called."""

    run: "Run | None" = None


class ReaderError(StoppedError):
    """An error in the reader's file that prevents a comparison of numbers."""


class NotWrittenError(StoppedError):
    """The function to be written is still empty, or ends with the line that the empty one consists of."""


class NotStartedError(Exception):
    """There is no file of this exercise in the reader's folder yet."""


def read(path: Path) -> str:
    """The text of a reader's file."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark
    except FileNotFoundError:
        raise NotStartedError(f"python -m exercises start {path.stem} copies it to {path.parent}") from None
    except UnicodeDecodeError:
        raise ReaderError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise ReaderError(f"{path} cannot be read: {error.strerror}") from None


def load(source: str, path: Path) -> types.ModuleType:
    """Run `source` as a module. `path` is the file that it comes from, for messages.

    Raises:
        ReaderError: it is not valid Python, or running it raises an exception.
    """
    try:
        code = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ReaderError(f"{_at(path, source, line)}not valid Python: {getattr(error, 'msg', error)}") from None
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
        raise ReaderError(
            f"the function `{name}` is missing: python -m exercises reset {module.__name__} restores the file"
        )
    return function


def failed(error: BaseException, source: str, path: Path) -> ReaderError | NotWrittenError:
    """The error to raise for an exception in the reader's code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, NotImplementedError) and not error.args:
        return NotWrittenError()
    message = " ".join(str(error).split())
    message = message if len(message) <= 300 else f"{message[:300]} ..."
    asked = next((f"\n{question}" for words, question in QUESTIONS.items() if words in message.lower()), "")
    line = frames[-1].lineno if frames else None
    return ReaderError(f"{_at(path, source, line)}{type(error).__name__}: {message}{asked}")


def _at(path: Path, source: str, line: int | None) -> str:
    lines = source.splitlines()
    code = f": `{lines[line - 1].strip()}`" if line and line <= len(lines) else ""
    return f"line {line}{code}\n  " if line else ""


@dataclass
class Run:
    """A call of a function: what it returned, and which line assigned each value to which variable."""

    returned: Any = None
    last_line: int = 0
    assigned: list[tuple[int, str, Any]] = field(default_factory=list)

    def line_of(self, value: Any) -> int:
        """The line that assigned this very object to a variable; if none did, the line of the `return`."""
        return next((line for line, _, held in self.assigned if held is value), self.last_line)

    def first_not_finite(self) -> tuple[int, str]:
        """The first line that gives NaN or infinity, and the variable that it assigns."""
        return next(((line, name) for line, name, held in self.assigned if _not_finite(held)), (self.last_line, ""))


def run(function: Callable[..., Any], arguments: tuple[Any, ...], source: str, path: Path) -> Run:
    """Call a function of the reader and record its assignments.

    Raises:
        NotWrittenError: the function is still empty, or unfinished; it carries the run up to that line.
        ReaderError: the function raises an exception; it carries the run too.
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
        stopped = failed(error, source, path)
        stopped.run = result
        raise stopped from None
    finally:
        sys.settrace(before)
    return result


def _not_finite(value: Any) -> bool:
    if not isinstance(value, jax.Array | np.ndarray | float):
        return False
    return bool(np.issubdtype(np.asarray(value).dtype, np.floating) and not np.isfinite(value).all())
