"""The folder of a run: never two runs in one, never two writers, and metrics that survive crash and resume."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from common.errors import ConfigError, UserError
from training import new_folder
from training.config import load_config
from training.metrics import HEADER, MetricsRow
from training.run_folder import Classes, RunFolder

ROOT = Path(__file__).resolve().parent.parent


def row(step: int, val: float | None = 0.25) -> MetricsRow:
    return MetricsRow(step // 10, step, 1.5, val, val, val, 1e-4, 123.456789, 60.0, 0.01)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create("demo", tmp_path / "run")
    run.write_config(load_config("demo"))
    return run


# Making and finding runs.


def test_default_name_holds_preset_and_time(tmp_path: Path) -> None:
    run = RunFolder.create("demo", runs=tmp_path / "runs")
    assert run.path.parent == tmp_path / "runs"
    assert re.fullmatch(r"demo-\d{8}-\d{6}", run.path.name)
    assert list(run.path.iterdir()) == []


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "20260102-030405")
    names = [RunFolder.create("demo", runs=tmp_path).path.name for _ in range(3)]
    assert names == ["demo-20260102-030405", "demo-20260102-030405-2", "demo-20260102-030405-3"]


def test_a_chosen_folder_may_exist_if_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert RunFolder.create("demo", tmp_path / "empty").path == tmp_path / "empty"
    assert RunFolder.create("demo", tmp_path / "new" / "deep").path.is_dir()


def test_a_folder_with_a_run_is_refused(run: RunFolder) -> None:
    with pytest.raises(UserError, match=f"{re.escape(str(run.path))}: holds a run.*`--resume "):
        RunFolder.create("demo", run.path)


def test_a_folder_with_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpeg").touch()
    with pytest.raises(UserError, match="not empty"):
        RunFolder.create("demo", tmp_path)
    with pytest.raises(UserError, match="a file"):
        RunFolder.create("demo", tmp_path / "photo.jpeg")


SHORT = {"config.yml": "preset: demo\n"}
OURS = '{"wnids": ["n01"], "names": ["a"], "mean": [0.5], "std": [0.2], "fingerprint": "abc"}'


@pytest.mark.parametrize(
    "beginnings",
    [
        {".lock": "1234\n"},
        {"classes.json": ""},
        {"classes.json": OURS, "log.txt": "2026-11-27 04:48:14  python train.py demo\nhello\n", ".lock": ""},
        {".config.yml.partial-ab12_xyz": "preset", ".classes.json.partial-ab12_xyz": ""},
    ],
)
def test_a_folder_with_beginnings_alone_can_be_begun_anew(tmp_path: Path, beginnings: dict[str, str]) -> None:
    for name, text in beginnings.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"stopped before its config\.yml was written; begin it again with .*--run"):
        RunFolder.open(tmp_path)
    run = RunFolder.create("demo", tmp_path, files=SHORT)
    assert run.config_file.read_text() == SHORT["config.yml"]
    assert RunFolder.open(tmp_path) == run


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '{"classes": 3}'), ("classes.json", "[1]"), ("log.txt", "dear diary\n"), ("metrics.csv", ""),
        ("last.npz", ""), (".photo.jpeg.partial-ab12_xyz", ""), ("presets.yml", "mine: {}\n"),
    ],
)  # fmt: skip
def test_what_only_has_such_a_name_is_no_beginning(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="not empty"):
        RunFolder.create("demo", tmp_path, files=SHORT | {"presets.yml": "mine:\n"})
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("path", ["run", None])
def test_a_new_folder_never_lacks_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    """Killed at any moment, it is not there, or complete; and what is left is removed."""
    monkeypatch.chdir(tmp_path)
    program = f"""
        import os, pathlib
        from training import new_folder
        replace = new_folder.replace_text
        new_folder.replace_text = lambda *arguments: (replace(*arguments), os.kill(os.getpid(), 9))
        from training.run_folder import RunFolder
        RunFolder.create("demo", {path!r}, files={SHORT})
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], env=environment, stderr=subprocess.PIPE)
    assert killed.returncode == -9, killed.stderr
    parent = tmp_path if path else tmp_path / "runs"
    assert [".partial-" in folder.name for folder in parent.iterdir()] == [True]
    run = RunFolder.create("demo", path, files=SHORT)
    assert list(parent.iterdir()) == [parent / run.path.name]
    assert run.config_file.read_text() == SHORT["config.yml"]


def test_two_that_begin_in_one_folder_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = RunFolder.create("demo", tmp_path / "other", files={"config.yml": "preset: other\n"})
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path != other.path and exists(path))
    monkeypatch.setattr(new_folder, "require_new", lambda *_: None)
    with pytest.raises(OSError, match=str(other.path)):
        new_folder._make_at_once(other.path, SHORT)
    monkeypatch.undo()
    with pytest.raises(UserError, match="holds a run already"):
        RunFolder.create("demo", other.path, files=SHORT)
    (tmp_path / "empty").mkdir()
    with RunFolder(tmp_path / "empty").lock(), pytest.raises(UserError, match="is beginning a run here"):
        RunFolder.create("demo", tmp_path / "empty", files=SHORT)


def test_open(run: RunFolder, tmp_path: Path) -> None:
    assert RunFolder.open(str(run.path)) == run
    (tmp_path / "other").mkdir()
    for path, told in (("none", "no such folder"), ("other", r"no config\.yml"), ("run/config.yml", "a file")):
        with pytest.raises(UserError, match=told):
            RunFolder.open(tmp_path / path)


def test_newest_is_the_run_that_was_written_last(tmp_path: Path) -> None:
    for name, checkpoint, seconds in (("a", "last.npz", 100), ("b", "best.npz", 300), ("c", "last.npz", 200)):
        run = RunFolder.create("demo", tmp_path / name)
        run.write_config(load_config("demo"))
        (run.path / checkpoint).touch()
        os.utime(run.path / checkpoint, (seconds, seconds))
    RunFolder.create("demo", tmp_path / "without-checkpoint").write_config(load_config("demo"))
    (tmp_path / "notes.txt").touch()
    assert RunFolder.newest(tmp_path).path.name == "b"
    RunFolder(tmp_path / "a").append_metrics(row(1))
    assert RunFolder.newest(tmp_path).path.name == "a"


def test_no_run_yet(tmp_path: Path, run: RunFolder) -> None:
    for runs in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"no run with a checkpoint .* `python train\.py"):
            RunFolder.newest(runs)


# One writer.


def test_second_writer_is_refused_until_the_first_ends(run: RunFolder) -> None:
    with run.lock():
        with pytest.raises(UserError, match=f"another training .process {os.getpid()}. is writing"), run.lock():
            pass
        with pytest.raises(UserError, match="another training"), run.lock():  # the refusal did not break the lock
            pass
    with run.lock():
        pass


def test_a_writer_that_is_killed_leaves_no_lock(run: RunFolder) -> None:
    program = f"""
        import os, pathlib, sys
        from training.run_folder import RunFolder
        with RunFolder(pathlib.Path({str(run.path)!r})).lock():
            print("locked", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=f"process {process.pid}"), run.lock():
            pass
        process.kill()
        process.wait()
    with run.lock():
        pass


def test_a_lock_file_does_not_make_a_folder_full(tmp_path: Path) -> None:
    run = RunFolder.create("demo", tmp_path / "run")
    with run.lock():
        pass
    assert RunFolder.create("demo", tmp_path / "run") == run


# What it holds.


def test_configuration_round_trip(run: RunFolder) -> None:
    assert run.read_config() == load_config("demo")
    for content in (b"preset: demo\nmodel: {depth: 3}\n", b"preset: \xff"):
        run.config_file.write_bytes(content)
        with pytest.raises(ConfigError, match=re.escape(str(run.config_file))):
            run.read_config()


def test_a_resumed_run_may_change_what_is_allowed_alone(run: RunFolder) -> None:
    config = run.read_config(["train.steps=7", "data.root=/b"], allowed=("train.steps", "data.root"))
    assert config == load_config("demo", ["train.steps=7", "data.root=/b"])
    for override in ("optim.learning_rate=1", "train.steps", "tran.steps=7"):
        with pytest.raises(UserError, match=rf"^{re.escape(override)}: .*/run keeps .*, but for data\.root"):
            run.read_config([override], allowed=("data.root",))


def test_classes_round_trip(run: RunFolder) -> None:
    classes = Classes(("n01", "n02"), ("goldfish, Carassius", "über"), (0.1, 0.2, 1 / 3), (0.3, 0.25, 0.2), "abc")
    run.write_classes(classes)
    assert run.read_classes() == classes


@pytest.mark.parametrize(
    "content", ["", "[]", '{"wnids": []}', '{"fingerprint": ""}', '{"fingerprint": "", "wnids": 3}']
)
def test_classes_that_cannot_be_used(run: RunFolder, content: str) -> None:
    with pytest.raises(UserError, match=r"classes\.json: missing"):
        run.read_classes()
    run.classes_file.write_text(content)
    with pytest.raises(UserError, match=r"classes\.json: damaged"):
        run.read_classes()


def test_the_file_of_classes_keeps_its_format(run: RunFolder) -> None:
    """Runs of before the fields were renamed load, and what is written now is the same, byte for byte."""
    text = (
        '{\n "wnids": [\n  "n01"\n ],\n "names": [\n  "über"\n ],\n "mean": [\n  0.5\n ],\n "std": [\n  0.25\n ],\n'
        ' "fingerprint": "abc"\n}\n'
    )
    run.classes_file.write_text(text, encoding="utf-8")
    classes = run.read_classes()
    assert classes == Classes(("n01",), ("über",), (0.5,), (0.25,), "abc")
    run.write_classes(classes)
    assert run.classes_file.read_text(encoding="utf-8") == text


# Metrics.


def test_metrics_have_one_header_and_a_row_each(run: RunFolder) -> None:
    assert run.read_metrics() == []
    run.append_metrics(row(10))
    run.append_metrics(row(20, val=None))
    lines = run.metrics_file.read_text().splitlines()
    assert lines == [
        "epoch,step,train_loss,val_loss,val_top1,val_top5,learning_rate,images_per_second,seconds,data_wait,"
        "ema_top1,ema_loss",
        "1,10,1.5,0.25,0.25,0.25,0.0001,123.457,60,0.01,,",
        "2,20,1.5,,,,0.0001,123.457,60,0.01,,",
    ]
    assert [(r.step, r.val_loss) for r in run.read_metrics()] == [(10, 0.25), (20, None)]
    assert type(run.read_metrics()[0].step) is int


def test_a_file_of_the_former_columns_is_read_and_gets_todays(run: RunFolder) -> None:
    """A run that began before there were averages goes on in the same file."""
    former = "epoch,step,train_loss,val_loss,val_top1,val_top5,learning_rate,images_per_second,seconds,data_wait"
    run.metrics_file.write_text(f"{former}\n1,10,1.5,0.25,0.25,0.25,0.0001,123.457,60,0.01\n2,20,1.5,0.25")
    assert run.read_metrics() == [row(10)._replace(images_per_second=123.457)]
    run.truncate_metrics(10)
    run.append_metrics(row(20)._replace(ema_top1=0.5, ema_loss=1.25))
    assert run.metrics_file.read_text().splitlines() == [
        f"{former},ema_top1,ema_loss",
        "1,10,1.5,0.25,0.25,0.25,0.0001,123.457,60,0.01,,",
        "2,20,1.5,0.25,0.25,0.25,0.0001,123.457,60,0.01,0.5,1.25",
    ]
    assert [(r.step, r.ema_top1) for r in run.read_metrics()] == [(10, None), (20, 0.5)]


def test_rows_past_the_checkpoint_are_dropped(run: RunFolder) -> None:
    for step in (10, 20, 30):
        run.append_metrics(row(step))
    before = run.metrics_file.read_text().splitlines()
    run.truncate_metrics(20)
    assert run.metrics_file.read_text().splitlines() == before[:3]
    run.truncate_metrics(0)
    assert run.metrics_file.read_text() == HEADER


def test_nothing_to_truncate(run: RunFolder) -> None:
    run.truncate_metrics(5)
    assert not run.metrics_file.exists()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_last_line_that_a_crash_cut_short(run: RunFolder, cut: int) -> None:
    for step in (10, 20):
        run.append_metrics(row(step))
    content = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(content[:-cut])
    assert [r.step for r in run.read_metrics()] == [10]
    run.append_metrics(row(20))
    assert run.metrics_file.read_bytes() == content
    run.metrics_file.write_bytes(content[:-cut])
    run.truncate_metrics(10)
    assert [r.step for r in run.read_metrics()] == [10]


def test_a_row_before_the_checkpoint_is_whole_without_the_end_of_its_line(run: RunFolder) -> None:
    for step in (10, 20):
        run.append_metrics(row(step))
    content = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(content[:-1])
    run.truncate_metrics(20)
    assert run.metrics_file.read_bytes() == content


def test_a_header_that_a_crash_cut_short(run: RunFolder) -> None:
    run.metrics_file.write_text(HEADER[:9])
    assert run.read_metrics() == []
    run.append_metrics(row(10))
    assert run.metrics_file.read_text().startswith(HEADER)
    assert [r.step for r in run.read_metrics()] == [10]


def test_other_columns_are_refused(run: RunFolder) -> None:
    run.metrics_file.write_text("step,loss\n1,2\n")
    for use in (lambda: run.append_metrics(row(1)), run.read_metrics, lambda: run.truncate_metrics(1)):
        with pytest.raises(UserError, match=r"metrics\.csv: its columns are not epoch,step"):
            use()


@pytest.mark.parametrize(
    "line", ["1,2,3", "a" + ",1" * 11, ",1" * 11, "1" + ",1" * 10, "1" + ",1" * 12, "1,2" + ",x" * 10, "\0"]
)
def test_a_damaged_line_is_named(run: RunFolder, line: str) -> None:
    run.append_metrics(row(10))
    with open(run.metrics_file, "a") as file:
        file.write(line + "\n")
    run.append_metrics(row(30))
    with pytest.raises(UserError, match=r"metrics\.csv, line 3: damaged"):
        run.read_metrics()
