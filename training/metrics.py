"""The metrics of a run, `metrics.csv`: a row per evaluation, for a spreadsheet, a plot or `tail -f`."""

import codecs
import contextlib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from common.documents import read_text
from common.errors import UserError
from common.files import replace_text
from common.filesystems import flush


class MetricsRow(NamedTuple):
    epoch: int  # passes over the training images, including this one
    step: int  # updates made so far
    train_loss: float  # mean over the steps since the last row, with label smoothing
    val_loss: float | None  # mean over the validation images, in nats; None: not evaluated
    val_top1: float | None  # fraction of validation images whose label is the first guess
    val_top5: float | None  # or among the first five guesses
    learning_rate: float  # of the last step
    images_per_second: float  # in training
    seconds: float  # of training and evaluation since the run began
    data_wait: float  # fraction of the training time spent waiting for data
    ema_top1: float | None = None  # val_top1 of the moving average of the parameters; None if optim.ema is null
    ema_loss: float | None = None  # and its val_loss


HEADER = ",".join(MetricsRow._fields) + "\n"
OLD_HEADER = HEADER.replace(",ema_top1,ema_loss", "")  # of versions without moving averages


NUMBER = r"-?[0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?"
MAY_BE_EMPTY = ("val_loss", "val_top1", "val_top5", "ema_top1", "ema_loss")


def accuracy_of_all(names: Iterable[str]) -> str:
    """What the accuracies of several runs are called together, by the names of each (`Config.accuracy`)."""
    return " or ".join(sorted(set(names)))


def shows_top5(num_classes: int) -> bool:
    """Whether top-5 says anything: of five classes or fewer it is always 100%."""
    return num_classes > 5


def append_row(path: Path, row: MetricsRow) -> None:
    """Append `row`. It is on the disk when this returns.

    Raises:
        UserError: the file has other columns.
        OSError: it cannot be written.
    """
    line = ",".join(_format(value) for value in row) + "\n"
    with open(path, "a+b") as file:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if whole and not whole.removeprefix(codecs.BOM_UTF8).startswith(HEADER.encode()):
            raise UserError(f"{path}: its columns are not {HEADER.strip()}; move it away and run again")
        file.truncate(len(whole))  # drop a line that a crash cut short
        file.write((line if whole else HEADER + line).encode())
        file.flush()
        flush(file.fileno(), path)


def truncate_rows(path: Path, step: int) -> None:
    """Drop the rows after `step`, which a resumed run writes again, and a line that a crash cut short.

    A row up to `step` is whole, as the checkpoint is later, even if the end of its line is missing.

    A file with the columns of an older version gets the present ones.

    Raises:
        UserError: the file is damaged.
        OSError: it cannot be written.
    """
    if path.exists():
        found = list(_lines_and_rows(path))
        with contextlib.suppress(UserError):  # it is cut short
            found = list(_lines_and_rows(path, end="\n"))
        kept = [line for line, row in found if row.step <= step]
        replace_text(path, "".join([HEADER, *kept]))


def read_rows(path: Path) -> list[MetricsRow]:
    """The rows, none if there is no file. A last line that a crash cut short is left out.

    Raises:
        UserError: the file is damaged or has other columns.
    """
    return [row for _, row in _lines_and_rows(path)] if path.exists() else []


def _lines_and_rows(path: Path, end: str = "") -> list[tuple[str, MetricsRow]]:
    """Whole lines and their rows; `end` is added to the text."""
    text = read_text(path, errors="replace")
    text += "" if text.endswith("\n") else end
    *lines, _ = (f"{line}\n" for line in text.split("\n"))  # the last one is cut short
    if lines and lines[0] == OLD_HEADER:
        empty = "," * (HEADER.count(",") - OLD_HEADER.count(","))
        lines = [HEADER, *(f"{line.rstrip()}{empty}\n" for line in lines[1:])]
    if lines and lines[0] != HEADER:
        raise UserError(f"{path}: its columns are not {HEADER.strip()}; move it away and run again")
    rows: list[tuple[str, MetricsRow]] = []
    for number, line in enumerate(lines[1:], start=2):
        rows.append((line, _parse(line, f"{path}, line {number}", rows[-1][1].step if rows else 0)))
    return rows


def _parse(line: str, where: str, before: int) -> MetricsRow:
    """The row in a line, behind a row of the step `before`."""
    cells = line.strip().split(",")
    if len(cells) == len(MetricsRow._fields) and all(map(_can_be, MetricsRow._fields, cells)):
        epoch, step, *rest = cells
        row = MetricsRow(int(epoch), int(step), *(float(cell) if cell else None for cell in rest))  # type: ignore[arg-type]
        if before < row.step and row.epoch <= row.step:
            return row
    raise UserError(f"{where}: damaged: {line.strip()!r}; delete the line")


def _can_be(column: str, cell: str) -> bool:
    """Whether this can stand in a column."""
    if column in ("epoch", "step"):
        return re.fullmatch("[0-9]{1,10}", cell) is not None
    if not cell:
        return column in MAY_BE_EMPTY
    if column == "ema_loss" and cell in ("nan", "inf"):  # of an average whose parameters are too large
        return True
    return re.fullmatch(NUMBER, cell) is not None and math.isfinite(float(cell))


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
