"""steps.csv: a row per step, whole up to the last checkpoint, and nothing that was undone."""

import io
import math
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from training import step_log
from training.step_log import HEADER, START, StepLog, StepRow, cut_behind, is_continued, last_until, read_steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "steps.csv"


def row(step: int) -> StepRow:
    return StepRow(step, float(np.float32(2.3)), float(np.float32(1 / 3)), float(np.float32(1e-4)))


def write(path: Path, *steps: int, every: int | None = 1) -> None:
    with StepLog(path, every) as log:
        for step in steps:
            log.add(row(step))


def steps_in(path: Path) -> list[int]:
    return [row.step for row, _ in read_steps(path)]


# The file.


def test_rows_are_read_back_as_float32_have_them(path: Path) -> None:
    write(path, 1, 2)
    assert path.read_text() == HEADER + "1,2.3,0.33333334,1e-04\n2,2.3,0.33333334,1e-04\n"
    for step, (read, _) in enumerate(read_steps(path), 1):
        assert [np.float32(value) for value in read] == [np.float32(value) for value in row(step)]
    assert HEADER == "step,loss,gradient_norm,learning_rate\n"


@pytest.mark.parametrize(("every", "logged"), [(1, [1, 2, 3, 4, 5, 6]), (3, [3, 6]), (7, []), (None, [])])
def test_every_so_many_steps(path: Path, every: int | None, logged: list[int]) -> None:
    write(path, *range(1, 7), every=every)
    assert steps_in(path) == logged
    assert path.exists() == bool(logged)


def test_the_step_that_diverges_is_always_in_it(path: Path) -> None:
    def diverge() -> None:
        with StepLog(path, every=5) as log:
            log.add(row(10))
            log.add(StepRow(11, math.nan, -math.inf, 0.5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        diverge()
    assert path.read_text().splitlines()[2] == "11,nan,-inf,0.5"
    assert str([*read_steps(path)][1][0]) == str(StepRow(11, math.nan, -math.inf, 0.5))


def test_rows_are_written_together_and_at_once_when_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    monkeypatch.setattr(step_log.time, "monotonic", lambda: seconds[0])
    log = StepLog(path, 1)
    log.add(row(1))
    log.add(row(2))
    assert steps_in(path) == [1]
    seconds[0] += step_log.SECONDS
    log.add(row(3))
    log.add(row(4))
    assert steps_in(path) == [1, 2, 3]
    flushed: list[Path] = []
    monkeypatch.setattr(step_log, "flush", lambda descriptor, path: flushed.append(path))
    for _ in range(2):
        log.write(to_disk=True)
    assert (steps_in(path), flushed) == ([1, 2, 3, 4], [path])


def test_a_full_disk_is_an_error_that_names_the_file_and_is_met_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.FileIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    log = StepLog(path, 1)
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda path, *_, **__: Full(path, "a"))
        with pytest.raises(OSError, match="No space left") as caught, log:
            log.add(row(1))
    assert caught.value.filename == str(path)
    log.add(row(2))
    log.write()
    assert steps_in(path) == [2]


# Resuming.


@pytest.mark.parametrize(("step", "kept"), [(0, []), (1, [1]), (3, [1, 2, 3]), (9, [1, 2, 3, 4])])
@pytest.mark.parametrize("end", ["", "5", "5,2.3,0.3", "\0\0\0", "5,2.3,x,1\n", "4,1,1,1\n"])
def test_what_is_behind_the_checkpoint_is_dropped_be_it_damaged(path: Path, end: str, step: int, kept: list) -> None:
    write(path, 1, 2, 3, 4)
    whole = path.read_text()
    path.write_text(whole + end)
    if end.endswith("\n") and step == 9:
        with pytest.raises(UserError, match=r"steps\.csv, line 6: damaged: '.*'; delete the line"):
            last_until(path, step)
        return
    last, missing = last_until(path, step)
    cut_behind(path, last)
    assert (steps_in(path), missing) == (kept, step == 9)
    assert not kept or whole.startswith(path.read_text())
    write(path, *range(step + 1, 6))
    assert path.read_text().startswith(HEADER)


@pytest.mark.parametrize("every", [3, 1, 10, None])
def test_fewer_rows_than_steps_are_no_gap(path: Path, every: int | None) -> None:
    write(path, 3, 6, 9, every=3)
    assert [last_until(path, step, every)[1] for step in (9, 11)] == [False, False]
    assert last_until(path, 30, every)[1]


def test_a_last_row_before_the_checkpoint_is_whole_without_the_end_of_its_line(path: Path) -> None:
    write(path, 1, 2)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert steps_in(path) == [1]
    cut_behind(path, last_until(path, 2)[0])
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", ["step,loss\n1,2\n", "mine", "x" * 1000])
def test_other_columns_are_refused(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(UserError, match=r"steps\.csv: its columns are not step,loss,gradient_norm,learning_rate; move"):
        last_until(path, 0)


@pytest.mark.parametrize(
    "cells", ["1,1,1", "1,1,1,1,1", "1_0,1,1,1", "a,1,1,1", "2,,1,1", "2,1,1,nan", "0x2,1,1,1", "2"]
)
def test_a_damaged_line_before_the_checkpoint_is_named(path: Path, cells: str) -> None:
    write(path, 1, 3)
    path.write_text(path.read_text().replace("3,2.3,0.33333334,1e-04", f"{cells}\n4,1,1,1"))
    with pytest.raises(UserError, match=rf"steps\.csv, line 3: damaged: '{cells}'; delete the line"):
        last_until(path, 4)


def test_line_ends_and_marks_of_other_editors(path: Path) -> None:
    write(path, 1, 2)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert steps_in(path) == [1, 2]


def test_a_reader_goes_on_where_it_was_or_sees_that_it_cannot(path: Path) -> None:
    write(path, 1, 2)
    *_, (_, place) = read_steps(path)
    write(path, 3)
    assert [row.step for row, _ in read_steps(path, place)] == [3]
    assert is_continued(path, place)
    assert is_continued(path, START)
    cut_behind(path, last_until(path, 1)[0])
    assert not is_continued(path, place)
    write(path, 2, 3)
    assert is_continued(path, place)
    path.write_text(path.read_text().replace("2,2.3", "2,2.2"))
    assert not is_continued(path, place)
    path.unlink()
    assert not is_continued(path, place)
