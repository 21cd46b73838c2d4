"""Standard output and error of a command: any text can be printed, and none of it controls the terminal.

Class names, names of files and messages come from elsewhere. A character that the encoding lacks, or that would move
the cursor, hide text or be a command to the terminal, is printed as Python writes it: `\\x1b`, `\\u202e`.
"""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

OUTPUT, ERROR = "standard output", "standard error"
LONGEST_WORD = 400  # characters of a message; paths are shorter, and what was typed by accident may not be
LONGEST = 4000  # of a whole message

SIMPLER = str.maketrans({"±": "+-", "█": "#"})  # for characters of our own, where the encoding lacks them

# Control characters but tabs and line ends, and those of Unicode that turn the direction of text or break lines.
CONTROL = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
COLOUR = r"\x1b\[(?:(?:0|1|3[0-7]|39);?)*m"
BAR = r"\A\r|\A(?:\x1b\[A)+"  # what tqdm begins with: back to the beginning of the line, lines up


def printable(text: str, allowed: str = "(?!)") -> str:
    """The text with each control character escaped. `allowed` is a pattern of what stays; by default nothing does."""
    return re.sub(f"({allowed})|{CONTROL}", lambda m: m[1] or ascii(m[0])[1:-1], text)


def shortened(text: str) -> str:
    """A message without the middle of what is too long: each word, and all of it."""
    text = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda m: _without_middle(m[0], LONGEST_WORD), text)
    return _without_middle(text, LONGEST)


def _without_middle(text: str, longest: int) -> str:
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [...] {text[-half:]}"


class SafeStream:
    """A text stream to print on. An error of the operating system names the stream as its file.

    What is written to a terminal that was closed is dropped: nobody reads it, and a training is to save all the same.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._terminal = stream.isatty()
        colour = COLOUR if self._terminal else ""
        self._allowed = "|".join(filter(None, (colour, BAR if name == ERROR else ""))) or "(?!)"

    def write(self, text: str) -> int:
        shown = printable(shortened(text) if self._name == ERROR else text, self._allowed)
        with self._named():
            try:
                self._stream.write(shown)
            except UnicodeEncodeError:
                encoding, shown = self._stream.encoding, shown.translate(SIMPLER)
                self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._terminal and error.errno == errno.EIO:
                _drop_what_cannot_be_written(self._stream)
                return
            error.filename = self._name
            raise


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Print on safe streams within the block. What cannot be written at its end is dropped, with no further error."""
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as with `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
    streams = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, SafeStream(streams[0], OUTPUT))
    sys.stderr = cast(TextIO, SafeStream(streams[1], ERROR))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = (now if old is None else old for old, now in zip(before, streams, strict=True))
        for stream in streams:
            _drop_what_cannot_be_written(stream)


def _drop_what_cannot_be_written(stream: TextIO) -> None:
    """Otherwise Python tries again when it exits, prints an error, and changes the exit code."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
