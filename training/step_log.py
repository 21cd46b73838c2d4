"""The course of a run step by step, `steps.csv`: loss, norm of the gradient and learning rate of every N-th step.

The training loop only puts a line into a list. The lines are written together, about once a second, so that the run can
be followed, and flushed to the disk before each checkpoint. So the file has every row up to the last checkpoint, and a
resumed run drops the rows behind it, which it writes again.
"""

import codecs
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from common.errors import UserError
from common.filesystems import flush
from training.metrics import NUMBER


class StepRow(NamedTuple):
    step: int  # updates made so far, including this one
    loss: float  # of the batch before the update, in nats, with label smoothing
    gradient_norm: float  # of all gradients together, before clipping
    learning_rate: float


class Place(NamedTuple):
    """How far a file was read: the last line."""

    end: int = 0  # of the line, in bytes
    number: int = 0  # of the line
    step: int = 0  # in the line
    line: bytes = b""


HEADER = ",".join(StepRow._fields) + "\n"
START = Place()
SECONDS = 1.0  # between writes
LONGEST = 200  # bytes of a line
_VALUE = f"({NUMBER}|nan|-?inf)"
_ROW = re.compile(f"(?P<step>[0-9]{{1,10}}),(?P<loss>{_VALUE}),(?P<norm>{_VALUE}),(?P<rate>{NUMBER})\r?\n?".encode())


class DamagedLineError(UserError):
    """A line of the file is none that a run writes."""


class StepLog:
    """Appends rows to the file `path`: those of every `every`-th step (None: none), and those that are not finite.

    A context manager: what is still to be written at the end of the block is written, also if the block raises.
    """

    def __init__(self, path: Path, every: int | None) -> None:
        self.path, self.every = path, every
        self._lines: list[str] = []
        self._written = -math.inf
        self._flushed = True

    def add(self, row: StepRow) -> None:
        """Raises OSError if the file cannot be written."""
        finite = math.isfinite(row.loss) and math.isfinite(row.gradient_norm)
        if self.every is None or (row.step % self.every and finite):
            return
        # The shortest decimals that are read back to the same float32.
        values = ",".join(str(np.float32(value)) for value in row[1:])
        self._lines.append(f"{row.step},{values}\n")
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self, *, to_disk: bool = False) -> None:
        """Write all rows so far; with `to_disk`, they are on the disk when this returns.

        Raises:
            OSError: the file cannot be written. These rows are lost; its `filename` is that of the file.
        """
        if not self._lines and (self._flushed or not to_disk):
            return
        lines, self._lines = self._lines, []  # not once more behind half a line, if the disk is full
        self._written = time.monotonic()
        try:
            with open(self.path, "ab") as file:
                file.write("".join(lines if file.tell() else [HEADER, *lines]).encode())
                if to_disk:
                    file.flush()
                    flush(file.fileno(), self.path)
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._flushed = to_disk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.write()
        except OSError:
            if kind is None:  # else the user is told of what came first
                raise


def read_steps(path: Path, after: Place = START, *, whole: bool = False) -> Iterator[tuple[StepRow, Place]]:
    """The rows behind `after`, each with its place; none if there is no file.

    A last line without an end was cut short, and is left out; with `whole` it is taken if it has all columns.

    Raises:
        DamagedLineError: a line is damaged.
        UserError: the file has other columns.
        OSError: it cannot be read.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(after.end)
        place = after
        while line := file.readline(LONGEST):
            ended = line.endswith(b"\n") or len(line) == LONGEST
            place = Place(place.end + len(line), place.number + 1, place.step, line)
            if place.number == 1:
                columns = line.removeprefix(codecs.BOM_UTF8).strip()
                if columns != HEADER.strip().encode() and (ended or not HEADER.encode().startswith(columns)):
                    raise UserError(f"{path}: its columns are not {HEADER.strip()}; move it away and run again")
                continue
            found = _ROW.fullmatch(line)
            if not ended and not (whole and found):
                return
            if not found or int(found["step"]) <= place.step:
                shown = line.decode(errors="replace").strip()
                raise DamagedLineError(f"{path}, line {place.number}: damaged: {shown!r}; delete the line")
            place = place._replace(step=int(found["step"]))
            yield StepRow(place.step, *(float(found[name]) for name in ("loss", "norm", "rate"))), place


def is_continued(path: Path, place: Place) -> bool:
    """Whether what was read up to `place` is still in the file, so that reading can go on there."""
    if not place.end:
        return True
    try:
        with open(path, "rb") as file:
            file.seek(place.end - len(place.line))
            return file.read(len(place.line)) == place.line
    except FileNotFoundError:
        return False


def last_until(path: Path, step: int, every: int | None = None) -> tuple[Place, bool]:
    """The last row up to `step`, START if there is none, and whether there should be later ones up to `step`.

    Rows are expected at the distance of the last two, or `every` steps if that is more: it may have been changed.

    Raises:
        UserError: the file is damaged before `step`, or has other columns. (What a power failure left behind the last
            row that was flushed may be anything.)
    """
    last, following = START, every or 1
    try:
        for row, place in read_steps(path, whole=True):
            if row.step > step:
                break
            last, following = place, row.step + max(every or 1, row.step - last.step)
    except DamagedLineError:
        if following <= step:
            raise
    return last, following <= step


def cut_behind(path: Path, place: Place) -> None:
    """Drop what is behind `place`.

    Raises:
        OSError: the file cannot be written.
    """
    if not path.exists():
        return
    ended = place.line.endswith(b"\n") or not place.end
    if path.stat().st_size == place.end and ended:
        return
    with open(path, "r+b") as file:
        file.truncate(place.end)
        if not ended:
            file.seek(place.end)
            file.write(b"\n")
        file.flush()
        flush(file.fileno(), path)
