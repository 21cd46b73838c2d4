"""The course of a run as TensorBoard reads it: points of curves in event files.

Names of curves: `train/loss`, `train/gradient_norm` and `train/learning_rate` for each row of steps.csv;
`validation/loss`, `validation/top1`, `validation/top5`, those of the moving average, and `train/mean_loss` and
`train/images_per_second`, both over the steps between two evaluations, for each row of metrics.csv. Without labels the
accuracies are those of a linear probe.

No point is written twice: what the files of a folder have already is read from them, and another file is begun for
what they do not have. If they have points that the run has no longer, since it was killed and went on from an earlier
checkpoint, the new file begins with the event by which TensorBoard forgets all points from a step on.
"""

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from training.metrics import MetricsRow
from training.run_folder import RunFolder
from training.step_log import START, Place, StepRow, is_continued, read_steps

HOW_TO_INSTALL = "pip install -r requirements-tensorboard.txt"
BEGINNING, END = "events.out.tfevents.", ".vit"  # of the names of our files; TensorBoard looks for the first
STEP_CURVES = tuple(f"train/{column}" for column in StepRow._fields[1:])
CURVES = {
    "train/mean_loss": "train_loss",
    "train/images_per_second": "images_per_second",
    "validation/loss": "val_loss",
    "validation/top1": "val_top1",
    "validation/top5": "val_top5",
    "validation/loss_of_average": "ema_loss",
    "validation/top1_of_average": "ema_top1",
}
"""Curves of evaluations, and their columns in metrics.csv."""


def require_tensorboardx() -> None:
    """Raises UserError if it is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise UserError(f"tensorboardX is not installed: {HOW_TO_INSTALL}") from error


class Points(NamedTuple):
    """A point of several curves, as the event files have it."""

    step: int
    summary: bytes


def points(step: int, values: dict[str, float]) -> Points:
    from tensorboardX.proto.summary_pb2 import Summary

    found = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
    return Points(step, found.SerializeToString())


def points_of_step(row: StepRow) -> Points:
    return points(row.step, dict(zip(STEP_CURVES, row[1:], strict=True)))


def points_of_evaluation(row: MetricsRow, with_rate: bool) -> Points:
    """`with_rate`: for a run without rows for its steps, which would have the learning rate."""
    columns = CURVES | ({STEP_CURVES[-1]: "learning_rate"} if with_rate else {})
    values = row._asdict()
    return points(row.step, {name: values[column] for name, column in columns.items() if values[column] is not None})


class EventFile:
    """A new event file in `folder`, to be read after those that are there.

    With `forget`, TensorBoard forgets the points of this step and all later ones that it has read before.
    """

    def __init__(self, folder: Path, forget: int | None = None) -> None:
        """Raises OSError if it cannot be written."""
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        # TensorBoard reads the files of a folder in the order of their names, and expects a time in seconds there.
        second = max([int(time.time()), *(number + 1 for number in _files_in(folder))])
        self._writer = RecordWriter(str(folder / f"{BEGINNING}{second:010}{END}"))
        self._write(wall_time=second, file_version="brain.Event:2")
        if forget is not None:
            self._write(wall_time=second, step=forget, session_log=SessionLog(status=SessionLog.START))
        self.flush()

    def add(self, added: Points, seconds: float) -> None:
        """`seconds` is the time of day, since 1970."""
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(wall_time=seconds, step=added.step, summary=Summary.FromString(added.summary))

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(**fields).SerializeToString())

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _files_in(folder: Path) -> dict[int, Path]:
    """The event files that were written here, by the numbers in their names, in order."""
    named = ((file.name.removeprefix(BEGINNING).removesuffix(END), file) for file in folder.glob(f"{BEGINNING}*{END}"))
    return dict(sorted((int(number), file) for number, file in named if number.isdecimal()))


def read_points(folder: Path) -> tuple[list[Points], list[Points]]:
    """The points of steps and of evaluations in the event files that were written here, without those that are to be
    forgotten."""
    steps: list[Points] = []
    evaluations: list[Points] = []
    for file in _files_in(folder).values():
        for event in _events_in(file):
            kind = steps if any(value.tag == STEP_CURVES[0] for value in event.summary.value) else evaluations
            if event.HasField("session_log"):
                for known in (steps, evaluations):
                    known[:] = [point for point in known if point.step < event.step]
            elif event.HasField("summary"):
                kind.append(Points(event.step, event.summary.SerializeToString()))
    return steps, evaluations


def _events_in(file: Path) -> Iterator[Any]:
    """The events of a file up to one that is damaged or cut short, where TensorBoard goes on to the next file. Each is
    its length (8 bytes), a checksum of it (4), the event itself, and a checksum of that (4)."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    with open(file, "rb") as records:
        while len(head := records.read(12)) == 12:
            length, checksum = struct.unpack("<QI", head)
            if checksum != masked_crc32c(head[:8]):
                return
            event, foot = records.read(length), records.read(4)
            if len(foot) < 4 or struct.unpack("<I", foot)[0] != masked_crc32c(event):
                return
            yield Event.FromString(event)


class RunEvents:
    """The event files of a run, which `update` brings up to date with its steps.csv and metrics.csv."""

    def __init__(self, run: RunFolder, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.steps = 0  # rows of steps.csv that the event files have
        self._rows: list[MetricsRow] | None = None  # of metrics.csv; None: it is not known yet
        self._place = START  # in steps.csv
        self._file: EventFile | None = None

    @property
    def evaluations(self) -> int:
        return len(self._rows or [])

    def update(self) -> None:
        """Write the rows that are new.

        Raises:
            UserError: a file of the run is damaged.
            OSError: one cannot be read, or no event file can be written.
        """
        rows, with_rate = self.run.read_metrics(), not self.run.steps_file.exists()
        known = self._rows
        if known is None or rows[: len(known)] != known or not is_continued(self.run.steps_file, self._place):
            known = self._go_on_from_what_is_written(rows, with_rate)
        time_of = _clock(self.run, rows)
        for row in rows[len(known) :]:
            self._add(points_of_evaluation(row, with_rate), time_of(row.step))
        self._rows = rows
        for step, place in read_steps(self.run.steps_file, self._place):
            self._add(points_of_step(step), time_of(step.step))
            self.steps, self._place = self.steps + 1, place
        if self._file:
            self._file.flush()

    def _go_on_from_what_is_written(self, rows: list[MetricsRow], with_rate: bool) -> list[MetricsRow]:
        """Find the rows that the event files have; if they have others, these are forgotten. Returns those of
        metrics.csv."""
        self.close()
        steps, evaluations = read_points(self.folder)
        made = [points_of_evaluation(row, with_rate) for row in rows]
        alike = next((i for i, (a, b) in enumerate(zip(made, evaluations, strict=False)) if a != b), len(evaluations))
        alike = min(alike, len(made))
        self.steps, self._place = self._find(steps)
        others = [*evaluations[alike:], *steps[self.steps :]]
        if not others:
            return rows[:alike]
        forget = min(point.step for point in others)
        self.steps, self._place = self._find([point for point in steps if point.step < forget])
        self._file = EventFile(self.folder, forget)
        return [row for row in rows[:alike] if row.step < forget]

    def _find(self, steps: list[Points]) -> tuple[int, Place]:
        """How many rows of steps.csv are these, and where the last one is."""
        count, place = 0, START
        for row, where in read_steps(self.run.steps_file):
            if count == len(steps) or points_of_step(row) != steps[count]:
                break
            count, place = count + 1, where
        return count, place

    def _add(self, added: Points, seconds: float) -> None:
        if self._file is None:
            self._file = EventFile(self.folder)
        self._file.add(added, seconds)

    def close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None


def _clock(run: RunFolder, rows: list[MetricsRow]) -> Callable[[int], float]:
    """The time of day of a step, which no file has: up to the last evaluation it follows from the seconds in
    metrics.csv, and behind it, it is that of the last writing of steps.csv."""
    ended = run.metrics_file.stat().st_mtime if rows else 0.0
    steps = [0, *(row.step for row in rows)]
    times = [ended - rows[-1].seconds + seconds for seconds in (0.0, *(row.seconds for row in rows))] if rows else [0.0]
    written = run.steps_file.stat().st_mtime if run.steps_file.exists() else 0.0
    return lambda step: float(np.interp(step, steps, times)) if step <= steps[-1] else max(written, ended)
