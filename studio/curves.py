"""The course of a run for charts: its steps, read once and thinned out, and its evaluations.

A file of steps may have hundreds of thousands of rows, and grows while it is watched. Only what was added is read, and
a curve has at most `POINTS` points, each the mean of the steps that it stands for.
"""

import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError
from training.metrics import MetricsRow
from training.step_log import START, Place, StepRow, is_continued, read_steps
from training.sweep_table import passes

POINTS, COLUMNS = 300, len(StepRow._fields)
MOST_COURSES = 50  # that are kept in memory
RATE_SECONDS = 30.0  # over which the speed is measured


class Steps(NamedTuple):
    """Thinned out: each (n,), n at most POINTS."""

    step: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    learning_rate: np.ndarray


@dataclass
class Course:
    """The steps of one run so far."""

    path: Path
    place: Place = START
    values: "array[float]" = field(default_factory=lambda: array("d"))  # of each row COLUMNS numbers
    problem: str = ""
    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))  # when which step was the last
    lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self) -> None:
        """Read what was added. A file that was cut, as when a run is resumed, is read anew."""
        with self.lock:
            try:
                if not is_continued(self.path, self.place):
                    self.place, self.values = START, array("d")
                    self.seen.clear()
                for row, place in read_steps(self.path, self.place):
                    self.values.extend(row)
                    self.place = place
                self.problem = ""
            except (UserError, OSError) as error:
                self.problem = str(error)
            if self.last_step and (not self.seen or self.seen[-1][1] != self.last_step):
                self.seen.append((time.monotonic(), self.last_step))

    @property
    def last_step(self) -> int:
        return self.place.step

    def steps_per_second(self) -> float | None:
        """The present speed; None: too little was seen."""
        with self.lock:
            recent = [(at, step) for at, step in self.seen if at >= time.monotonic() - RATE_SECONDS]
        if len(recent) < 2 or recent[-1][0] - recent[0][0] < 2:
            return None
        return (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0])

    def thinned(self) -> Steps:
        """Means over equally many steps; what is no number stays one, so that a divergence is seen."""
        with self.lock:
            table = np.array(self.values).reshape(-1, COLUMNS)
        if len(table) > POINTS:
            edges = np.linspace(0, len(table), POINTS + 1).astype(int)
            table = np.stack([table[a:b].mean(axis=0) for a, b in pairwise(edges)])
        return Steps(*table.T)


_courses: dict[Path, Course] = {}
_lock = threading.Lock()


def course_of(run: Path) -> Course:
    """The course of the run in a folder, up to date."""
    with _lock:
        course = _courses.pop(run.resolve(), None) or Course(run / "steps.csv")
        _courses[run.resolve()] = course  # the last one now
        if len(_courses) > MOST_COURSES:
            del _courses[next(iter(_courses))]
    course.update()
    return course


class Evaluations(NamedTuple):
    """At each evaluation; nan where there is none."""

    epoch: list[float]
    val_loss: list[float]
    ema_loss: list[float]
    val_top1: list[float]
    ema_top1: list[float]


def evaluations(rows: Sequence[MetricsRow], an_epoch: int | None) -> Evaluations:
    """`an_epoch` is the number of steps in a pass over the training images; without it, the epochs are taken for it."""
    rows = thin(rows)
    columns = [[_number(getattr(row, name)) for row in rows] for name in Evaluations._fields[1:]]
    at = [row.step / an_epoch for row in rows] if an_epoch else passes(rows) if rows else []
    return Evaluations(at, *columns)


def thin(rows: Sequence[MetricsRow]) -> Sequence[MetricsRow]:
    """At most POINTS rows, with the first and the last."""
    if len(rows) <= POINTS:
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, POINTS).astype(int)]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
