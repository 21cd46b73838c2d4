"""The course of a run in the studio: what is drawn stands for all steps, whatever their number, and stays quick."""

import math
from pathlib import Path

import numpy as np
import pytest

from studio import curves
from training.metrics import MetricsRow
from training.step_log import StepLog, StepRow


def write_steps(path: Path, first: int, last: int) -> None:
    with StepLog(path, 1) as log:
        for step in range(first, last + 1):
            log.add(StepRow(step, 1 / step, 0.5 * step, 1e-3))


def test_a_long_course_is_thinned_to_means_of_equally_many_steps(tmp_path: Path) -> None:
    write_steps(tmp_path / "steps.csv", 1, 3000)
    steps = curves.course_of(tmp_path).thinned()
    assert len(steps.step) == curves.POINTS
    np.testing.assert_allclose(steps.step, np.arange(1, 3001).reshape(300, 10).mean(axis=1))
    np.testing.assert_allclose(steps.loss, (1 / np.arange(1, 3001)).reshape(300, 10).mean(axis=1), rtol=1e-6)


def test_only_what_was_added_is_read_and_a_file_that_was_cut_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_steps(tmp_path / "steps.csv", 1, 5)
    course = curves.course_of(tmp_path)
    read: list[int] = []
    real = curves.read_steps

    def counted(path: Path, after: curves.Place) -> object:
        for row, place in real(path, after):
            read.append(row.step)
            yield row, place

    monkeypatch.setattr(curves, "read_steps", counted)
    write_steps(tmp_path / "steps.csv", 6, 8)
    assert curves.course_of(tmp_path) is course
    assert read == [6, 7, 8]
    assert course.last_step == 8
    lines = (tmp_path / "steps.csv").read_text().splitlines(True)
    (tmp_path / "steps.csv").write_text("".join(lines[:4]))  # a run that was resumed from an earlier checkpoint
    assert curves.course_of(tmp_path).thinned().step.tolist() == [1, 2, 3]


def test_a_damaged_line_is_told_and_what_was_read_stays(tmp_path: Path) -> None:
    write_steps(tmp_path / "steps.csv", 1, 3)
    with open(tmp_path / "steps.csv", "a") as file:
        file.write("rubbish\n")
    course = curves.course_of(tmp_path)
    assert course.last_step == 3
    assert "line 5: damaged" in course.problem


def test_a_course_that_diverged_shows_it(tmp_path: Path) -> None:
    with StepLog(tmp_path / "steps.csv", 1) as log:
        log.add(StepRow(1, 2.0, 1.0, 1e-3))
        log.add(StepRow(2, math.nan, math.inf, 1e-3))
    steps = curves.course_of(tmp_path).thinned()
    assert np.isnan(steps.loss).tolist() == [False, True]


def test_the_speed_is_that_of_the_last_half_minute(tmp_path: Path) -> None:
    course = curves.Course(tmp_path / "steps.csv")
    now = curves.time.monotonic()
    course.seen.extend([(now - 100, 1), (now - 20, 1000), (now - 10, 1100), (now, 1200)])
    assert course.steps_per_second() == pytest.approx(10)
    course.seen.clear()
    assert course.steps_per_second() is None


def test_evaluations_are_thinned_with_the_first_and_the_last() -> None:
    rows = [MetricsRow(n, 10 * n, 1.0, 2.0, n / 1000, None, 1e-3, 100.0, 1.0, 0.0) for n in range(1, 901)]
    found = curves.evaluations(rows, 10)
    assert len(found.epoch) == curves.POINTS
    assert (found.epoch[0], found.epoch[-1], found.val_top1[-1]) == (1, 900, 0.9)
    assert math.isnan(found.ema_top1[0])
    short = MetricsRow(1, 90, 1.0, 2.0, 0.5, None, 1e-3, 100.0, 1.0, 0.0)  # a run of an eighth of an epoch
    assert curves.evaluations([short], 720).epoch == [0.125]
    assert curves.evaluations([], None).epoch == []
