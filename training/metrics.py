"""The metrics of a run, `metrics.csv`: a row per evaluation, for a spreadsheet, a plot or `tail -f`."""

import codecs
from pathlib import Path
from typing import NamedTuple

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

    A file with the columns of an older version gets the present ones.

    Raises:
        UserError: the file is damaged.
        OSError: it cannot be written.
    """
    if path.exists():
        kept = [line for line, row in _lines_and_rows(path) if row.step <= step]
        replace_text(path, "".join([HEADER, *kept]))


def read_rows(path: Path) -> list[MetricsRow]:
    """The rows, none if there is no file. A last line that a crash cut short is left out.

    Raises:
        UserError: the file is damaged or has other columns.
    """
    return [row for _, row in _lines_and_rows(path)] if path.exists() else []


def _lines_and_rows(path: Path) -> list[tuple[str, MetricsRow]]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    if lines and lines[0] == OLD_HEADER:
        empty = "," * (HEADER.count(",") - OLD_HEADER.count(","))
        lines = [HEADER, *(f"{line.rstrip()}{empty}\n" for line in lines[1:])]
    if lines and lines[0] != HEADER:
        raise UserError(f"{path}: its columns are not {HEADER.strip()}; move it away and run again")
    return [(line, _parse(line, f"{path}, line {number}")) for number, line in enumerate(lines[1:], start=2)]


def _parse(line: str, where: str) -> MetricsRow:
    try:
        epoch, step, *rest = line.strip().split(",")
        values = [float(value) if value else None for value in rest]
        if len(values) != len(MetricsRow._fields) - 2:  # checked here, as the last fields have defaults
            raise ValueError
        return MetricsRow(int(epoch), int(step), *values)  # type: ignore[arg-type]  # None where a cell is empty
    except (ValueError, TypeError):
        raise UserError(f"{where}: damaged: {line.strip()!r}; delete the line") from None


def _format(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6g}"
