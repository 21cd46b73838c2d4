"""Event files: what TensorBoard reads is what steps.csv and metrics.csv have, once each, also of a run that goes on."""

import importlib.util
import re
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.files import locked
from tests.conftest import Ended
from tests.test_structure import ROOMS
from tests.tiny_runs import ROOT
from training import tensorboard
from training.run_folder import RunFolder
from training.step_log import StepLog, StepRow, cut_behind, last_until, read_steps
from training.sweep import Sweep

Call = Callable[..., Ended]
Points = dict[str, list[tuple[int, float]]]


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is optional")


with_tensorboardx = needs("tensorboardX")


def accumulator(folder: Path) -> Any:
    """TensorBoard's reader of a run."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    return EventAccumulator(str(folder), size_guidance={SCALARS: 0})


def points_of(events: Any) -> Points:
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_by_tensorboard(folder: Path) -> Points:
    return points_of(accumulator(folder).Reload())


def events_in(folder: Path) -> Iterator[Any]:
    """The events of all files in the folder, by the format of the records: length, its checksum, data, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("*tfevents*")):
        content = file.read_bytes()
        while len(content) >= 8 and len(content) >= 16 + (length := struct.unpack("<Q", content[:8])[0]):
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def read_by_protobuf(folder: Path) -> Points:
    """As TensorBoard does it: a session that starts with a step takes back what there was from this step on."""
    found: Points = {}
    for event in events_in(folder):
        if event.HasField("session_log"):
            found = {tag: [point for point in points if point[0] < event.step] for tag, points in found.items()}
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


READERS = [
    pytest.param(read_by_tensorboard, marks=needs("tensorboard"), id="TensorBoard"),
    pytest.param(read_by_protobuf, id="protobuf"),
]


def expected(run: Path) -> Points:
    """What the files of a run say, in float32."""
    rows, steps = RunFolder(run).read_metrics(), [row for row, _ in read_steps(run / "steps.csv")]
    columns = {
        "train/mean_loss": "train_loss", "train/images_per_second": "images_per_second", "validation/loss": "val_loss",
        "validation/top1": "val_top1", "validation/top5": "val_top5",
    }  # fmt: skip
    found: Points = {
        name: [(row.step, float(np.float32(getattr(row, column)))) for row in rows] for name, column in columns.items()
    }
    for number, name in enumerate(("train/loss", "train/gradient_norm", "train/learning_rate"), 1):
        found[name] = [(row.step, float(np.float32(row[number]))) for row in steps]
    return {name: points for name, points in found.items() if points}


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`sleeps(first, second, ...)`: what happens while a command that follows a run sleeps, and then Ctrl-C."""

    def script(*happenings: Callable[[], object]) -> None:
        waiting = iter(happenings)

        def sleep(seconds: float) -> None:
            assert seconds == tensorboard.POLL
            happening = next(waiting, None)
            if happening is None:
                raise KeyboardInterrupt
            happening()

        monkeypatch.setattr(tensorboard.time, "sleep", sleep)

    return script


def until(run: Path, step: int) -> dict[str, bytes]:
    """Cut the files of a run back to a step, as they were then; their whole content."""
    files = {name: (run / name).read_bytes() for name in ("steps.csv", "metrics.csv")}
    RunFolder(run).truncate_metrics(step)
    cut_behind(run / "steps.csv", last_until(run / "steps.csv", step)[0])
    return files


def put(run: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (run / name).write_bytes(content)


# One run.


@with_tensorboardx
@pytest.mark.parametrize("read", READERS)
def test_tensorboard_reads_what_the_run_has_written_once_however_often_that_is_asked_for(
    call: Call, copy: Path, read: Callable[[Path], Points]
) -> None:
    whole = until(copy, 12)
    assert call(tensorboard.main, copy).code == 0
    other = copy / "tensorboard" / "events.out.tfevents.1.other"
    other.write_bytes(b"")
    put(copy, whole)
    for _ in range(2):
        ended = call(tensorboard.main, copy)
        said = [
            f"{copy}/tensorboard: 18 steps, 3 evaluations",
            "to look at them: tensorboard --logdir copy/tensorboard",
        ]
        assert (ended.code, ended.out.splitlines(), ended.err) == (0, said, "")
    assert read(copy / "tensorboard") == expected(copy)
    written = [event.step for event in events_in(copy / "tensorboard") if event.HasField("summary")]
    assert sorted(written) == sorted([*range(1, 19), 6, 12, 18])
    assert other.exists()


@with_tensorboardx
def test_times_follow_from_the_seconds_of_the_metrics(call: Call, copy: Path) -> None:
    assert call(tensorboard.main, copy).code == 0
    version, *events = events_in(copy / "tensorboard")
    assert version.file_version == "brain.Event:2"
    rows, ended = RunFolder(copy).read_metrics(), (copy / "metrics.csv").stat().st_mtime
    times = {event.step: event.wall_time for event in events}
    assert [ended - times[row.step] for row in rows] == [
        pytest.approx(rows[-1].seconds - row.seconds, abs=1e-4) for row in rows
    ]
    assert [times[step] for step in range(1, 19)] == sorted(times.values())


@with_tensorboardx
def test_a_run_of_before_there_were_steps_has_its_evaluations(call: Call, copy: Path) -> None:
    (copy / "steps.csv").unlink()
    assert call(tensorboard.main, copy).out.startswith(f"{copy}/tensorboard: 0 steps, 3 evaluations\n")
    points = read_by_protobuf(copy / "tensorboard")
    rates = [(row.step, float(np.float32(row.learning_rate))) for row in RunFolder(copy).read_metrics()]
    assert points == expected(copy) | {"train/learning_rate": rates}


@with_tensorboardx
@pytest.mark.parametrize("read", READERS)
def test_what_is_not_finite_and_the_average_are_points_too(
    call: Call, copy: Path, read: Callable[[Path], Points]
) -> None:
    with StepLog(copy / "steps.csv", 1) as log:
        log.add(StepRow(19, float("nan"), float("inf"), 0.5))
    run = RunFolder(copy)
    run.append_metrics(run.read_metrics()[-1]._replace(step=19, ema_top1=0.5, ema_loss=float("nan"), val_top5=None))
    assert call(tensorboard.main, copy, "--logdir", "logs").code == 0
    points = read(Path("logs/copy"))
    last = {name: str(values[-1]) for name, values in points.items()}
    assert (last["train/loss"], last["train/gradient_norm"]) == ("(19, nan)", "(19, inf)")
    assert last["validation/loss_of_average"] == "(19, nan)"
    assert points["validation/top1_of_average"] == [(19, 0.5)]
    assert [step for step, _ in points["validation/top5"]] == [6, 12, 18]


@with_tensorboardx
@needs("tensorboard")
@pytest.mark.parametrize("damage", [slice(0, 0), slice(0, 5), slice(0, 700), slice(0, -1), 700, 900])
def test_what_a_killed_process_or_a_bad_disk_left_in_an_event_file_is_completed(
    call: Call, copy: Path, damage: slice | int
) -> None:
    assert call(tensorboard.main, copy).code == 0
    (file,) = (copy / "tensorboard").glob("*.vit")
    content = bytearray(file.read_bytes())
    if isinstance(damage, slice):
        content = content[damage]
    else:
        content[damage] ^= 0x20
    file.write_bytes(content)
    assert call(tensorboard.main, copy).code == 0
    assert read_by_tensorboard(copy / "tensorboard") == expected(copy)


# Following.


@with_tensorboardx
@pytest.mark.parametrize("read", READERS)
def test_followed_a_run_is_written_as_it_goes_on_and_to_its_end(
    call: Call, copy: Path, sleeps: Callable[..., None], read: Callable[[Path], Points]
) -> None:
    whole, seen = until(copy, 0), []

    def come_to(step: int) -> Callable[[], None]:
        def happen() -> None:
            seen.append(max((step for step, _ in read(copy / "tensorboard")["train/loss"]), default=0) if seen else 0)
            put(copy, whole)
            until(copy, step)

        return happen

    sleeps(come_to(4), come_to(6), come_to(15), come_to(18))
    ended = call(tensorboard.main, copy, "--follow")
    assert (ended.code, ended.err, seen) == (0, "", [0, 4, 6, 15])
    assert ended.out.splitlines() == [
        "following 1 run; Ctrl-C ends it",
        "to look at them: tensorboard --logdir copy/tensorboard",
        f"{copy}/tensorboard: 18 steps, 3 evaluations",
        "to look at them: tensorboard --logdir copy/tensorboard",
    ]
    assert read(copy / "tensorboard") == expected(copy)


@with_tensorboardx
@needs("tensorboard")
def test_steps_that_were_undone_are_no_points_nor_in_a_tensorboard_that_runs(
    call: Call, copy: Path, sleeps: Callable[..., None]
) -> None:
    """Killed at step 17, a run goes on from its checkpoint of step 14, with other numbers."""
    until(copy, 17)
    reader = accumulator(copy / "tensorboard")

    def go_on() -> None:
        reader.Reload()
        assert points_of(reader) == expected(copy)
        until(copy, 14)
        with StepLog(copy / "steps.csv", 1) as log:
            for step in (15, 16):
                log.add(StepRow(step, 9.0, 9.0, 9.0))

    sleeps(go_on)
    assert call(tensorboard.main, copy, "--follow") == (130, ended_by_hand(), "interrupted\n")
    assert read_by_protobuf(copy / "tensorboard") == expected(copy)
    assert expected(copy)["train/loss"][-2:] == [(15, 9.0), (16, 9.0)]
    reader.Reload()
    assert points_of(reader) == expected(copy)


def ended_by_hand() -> str:
    return "following 1 run; Ctrl-C ends it\nto look at them: tensorboard --logdir copy/tensorboard\n"


@with_tensorboardx
def test_a_run_that_diverges_is_over(call: Call, copy: Path, sleeps: Callable[..., None]) -> None:
    until(copy, 8)
    sleeps(lambda: RunFolder(copy).note_divergence("the loss of step 9 is nan", "x"))
    assert call(tensorboard.main, copy, "--follow").out.endswith(": 8 steps, 1 evaluation\n" + how_to_look())


def how_to_look() -> str:
    return "to look at them: tensorboard --logdir copy/tensorboard\n"


@with_tensorboardx
def test_runs_of_a_sweep_are_followed_from_when_they_begin(
    call: Call, finished: Path, tmp_path: Path, sleeps: Callable[..., None]
) -> None:
    sweep = Sweep.create("demo", [], ["train.seed=0,1"], tmp_path / "sweep")
    first, second = (run.path for run in sweep.runs())
    sleeps(lambda: shutil.copytree(finished, first), lambda: shutil.copytree(finished, second))
    ended = call(tensorboard.main, sweep.folder, "--logdir", "logs", "--follow")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "following 2 runs; Ctrl-C ends it",
        "to look at them: tensorboard --logdir logs/sweep",
        "logs/sweep/seed=0: 18 steps, 3 evaluations",
        "logs/sweep/seed=1: 18 steps, 3 evaluations",
        "to look at them: tensorboard --logdir logs/sweep",
    ]
    assert [read_by_protobuf(Path("logs/sweep") / path.name) for path in (first, second)] == [expected(finished)] * 2


# Where.


def test_each_run_has_a_folder_of_its_name_or_of_more_of_its_path(finished: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "a" / "run", tmp_path / "b" / "run"):
        shutil.copytree(finished, path)
    sweep = Sweep.create("demo", [], ["train.seed=0,1"], tmp_path / "b" / "sweep")
    for paths, folders in (
        (["a/run"], ["run"]),
        (["a/run", "a/run", "b/sweep"], ["run", "sweep/seed=0", "sweep/seed=1"]),
        (["a/run", "b/run"], ["a/run", "b/run"]),
    ):
        runs = tensorboard.runs_in([tmp_path / path for path in paths])
        assert [*tensorboard.folders_of(runs, Path("logs"))] == [Path("logs") / folder for folder in folders]
        assert [*tensorboard.folders_of(runs, None)] == [run.path / "tensorboard" for run in runs]
    assert sweep.folder.is_dir()


@with_tensorboardx
def test_what_cannot_be_written(call: Call, copy: Path, tmp_path: Path) -> None:
    new = RunFolder.create("demo", tmp_path / "new", files={"config.yml": (copy / "config.yml").read_text()}).path
    (tmp_path / "file").touch()
    for arguments, message in (
        (["nowhere"], "^error: /.*/nowhere: there is no such folder"),
        ([tmp_path], "not the folder of a run"),
        ([new], "new: there is nothing to write, as no step has been made yet$"),
        ([copy, "--logdir", "file"], r"^error: file/copy: cannot be written \(.*\); choose another one with --logdir"),
    ):
        ended = call(tensorboard.main, *arguments)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
        assert re.search(message, ended.err.strip()), ended.err


@with_tensorboardx
def test_one_process_writes_the_event_files_of_a_run(call: Call, copy: Path) -> None:
    (copy / "tensorboard").mkdir()
    with locked(copy / "tensorboard" / tensorboard.LOCK) as supported:
        assert supported
        ended = call(tensorboard.main, copy)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(r"error: .*: process \d+ writes these event files already; stop it first, or .*\n", ended.err)


def test_without_tensorboardx_it_says_how_to_get_it(call: Call, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    told = "error: tensorboardX is not installed: pip install -r requirements-tensorboard.txt\n"
    assert call(tensorboard.main, copy) == (2, "", told)
    assert "tensorboardX" in (ROOT / told.split()[-1]).read_text()
    assert not (copy / "tensorboard").exists()


def test_training_never_imports_it() -> None:
    """The one file that does is one that only the command imports."""
    sources = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    assert [path.name for path in sources if "import tensorboardX" in path.read_text()] == ["event_file.py"]
    imported = re.compile(r"from training(\.event_file| import tensorboard)|training\.tensorboard import")
    assert [path.name for path in sources if imported.search(path.read_text())] == ["tensorboard.py"]
