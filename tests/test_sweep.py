"""train.py --sweep: what it refuses, what a sweep leaves, how it goes on, and its tables."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import train
from common.command import run_command
from common.errors import ConfigError
from tests.conftest import Ended
from tests.test_train_command import SLOW
from tests.tiny_runs import ROOT, STEPS_PER_EPOCH, assert_same_outcome, start_python
from training import sweep_runner
from training.config import load_config
from training.metrics import MetricsRow
from training.run_folder import RunFolder
from training.sweep import Sweep
from training.sweep_runner import Launcher
from training.sweep_table import FINISHED, Entry, columns_of, format_csv, format_markdown, passes
from training.sweep_text import format_text
from training.trainer import Trainer

Call = Callable[..., Ended]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Runs are trained within this process, which is faster; and this list has the arguments of each call."""
    made: list[list[str]] = []

    def train_here(launcher: Launcher, arguments: Sequence[str]) -> str | None:
        made.append(list(arguments))
        code = run_command(train.main, list(arguments))
        return None if code == 0 else f"exit code {code}"

    monkeypatch.setattr(Launcher, "train", train_here)
    return made


def assert_refused(ended: Ended, message: str) -> None:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert re.search(message, ended.err), ended.err


def without(options: Sequence[str], *keys: str) -> list[str]:
    return [option for option in options if option.partition("=")[0] not in keys]


# What is asked for.


def test_the_grid_is_in_order_and_each_run_has_a_readable_name(tmp_path: Path) -> None:
    swept = ["optim.learning_rate=5e-4,1e-3", "model.image_size=[64,48],64"]
    sweep = Sweep.create("demo", ["train.epochs=2"], swept, tmp_path / "sweep")
    assert [run.path.name for run in sweep.runs()] == [
        "learning_rate=5e-4,image_size=[64,48]", "learning_rate=5e-4,image_size=64",
        "learning_rate=1e-3,image_size=[64,48]", "learning_rate=1e-3,image_size=64",
    ]  # fmt: skip
    assert sweep.options(sweep.combinations()[2]) == [
        "train.epochs=2", "optim.learning_rate=1e-3", "model.image_size=[64,48]",
    ]  # fmt: skip
    assert Sweep.open(tmp_path / "sweep") == sweep


def test_names_keep_what_would_be_in_doubt(tmp_path: Path) -> None:
    """Two options are called eps; and a value may hold what a file's name must not."""
    swept = ["model.eps=1e-6,1e-5", "optim.eps=1e-8", "data.root=/a/b,a b"]
    first, second, *_ = Sweep.create("demo", [], swept, tmp_path / "sweep").runs()
    assert first.path.name == "model.eps=1e-6,optim.eps=1e-8,root=%2Fa%2Fb"
    assert second.path.parent == tmp_path / "sweep"
    assert "/" not in second.path.name


def test_an_option_may_have_an_effect_in_some_of_the_runs_alone(call: Call, tmp_path: Path) -> None:
    """What has none in any of them is refused, as outside of a sweep; what was begun before is not."""
    folder, given = tmp_path / "sweep", ["optim.momentum=0.9"]
    sweep = Sweep.create("demo", given, [], folder, ["optim.name=muon"])
    assert Sweep.open(folder) == sweep
    assert call(train.main, "demo", *given, "--run", str(folder / "change=none"), "--summary").code == 0
    assert_refused(call(train.main, "demo", *given, "--run", "alone", "--summary"), "has no effect with optim.name")
    with pytest.raises(ConfigError, match=r"^in every run, optim\.momentum=0\.9 has no effect with optim\.name=adamw"):
        Sweep.create("demo", given, ["train.seed=0,1"], tmp_path / "other")


def test_changes_are_made_one_at_a_time_with_each_seed(tmp_path: Path) -> None:
    changes = ["augment.flip=false", "model.learned_temperature=true  model.masked_diagonal=true"]
    sweep = Sweep.create("demo", ["augment.mixup=0.2"], ["train.seed=0,1"], tmp_path / "sweep", changes)
    assert [run.path.name for run in sweep.runs()] == [
        "change=none,seed=0", "change=none,seed=1",
        "change=augment.flip=false,seed=0", "change=augment.flip=false,seed=1",
        "change=model.learned_temperature=true+model.masked_diagonal=true,seed=0",
        "change=model.learned_temperature=true+model.masked_diagonal=true,seed=1",
    ]  # fmt: skip
    assert [sweep.options(values) for values in sweep.combinations()[1::2]] == [
        ["augment.mixup=0.2", "train.seed=1"],
        ["augment.mixup=0.2", "augment.flip=false", "train.seed=1"],
        ["augment.mixup=0.2", "model.learned_temperature=true", "model.masked_diagonal=true", "train.seed=1"],
    ]
    assert Sweep.open(tmp_path / "sweep") == sweep
    entries = [
        Entry(values, FINISHED, [row(top1=top1)], "")
        for values, top1 in zip(sweep.combinations(), (0.1, 0.3, 0.4, 0.4, 0.5, 0.7), strict=True)
    ]
    means = format_markdown(["change", "train.seed"], sweep.names(), entries).partition("Mean and")[2]
    assert re.search(r"\| none +\| +2 \|.* 20\.00% ± 14\.14% \|", means)
    assert re.search(r"\| augment\.flip=false +\| +2 \|.* 40\.00% ± 0\.00% \|", means)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--sweep", "optim.learning_rate=1e-3,many"], r"optim\.learning_rate=many: expected a number"),
        (["demo", "--sweep", "optim.learning_rate=1e-3,"], r"optim\.learning_rate=: expected a number"),
        (["demo", "--sweep", "optim.learning_rat=1e-3,1"], r"optim\.learning_rat; did you mean optim\.learning_rate"),
        (["demo", "--sweep", "model.heads=4,5"], "5 heads do not divide d_model"),
        (["dmeo", "--sweep", "train.seed=0,1"], "has no preset dmeo; did you mean demo"),
        (["--sweep", "train.seed=0,1", "demo"], "demo: --sweep expects section.key=value,value; put the preset"),
        (["--sweep", "train.seed=0", "train.seed=1"], r"train\.seed=1: train\.seed is swept twice"),
        (["train.seed=3", "--sweep", "train.seed=0,1"], r"train\.seed: both given and swept"),
        (["--sweep", "optim.beta1=0.5,5e-1"], r"beta1=5e-1: the same run as optim\.beta1=0\.5"),
        (["--sweep", "train.seed=0,1", "--summary"], "--summary is of one model"),
        (["--vary", "augment.flip=true", "--summary"], "--summary is of one model"),
        (["--vary", "augment.flip"], r"augment\.flip: expected section\.key=value"),
        (["--vary", "augment.flip=true model.heads=5"], "5 heads do not divide d_model"),
        (["demo", "--vary", "augment.flip=true"], r"augment\.flip=true: the same run as demo as it is"),
        (["--vary", "train.seed=1", "--sweep", "train.seed=0,1"], r"train\.seed: swept, and set by one of the changes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_before_anything_is_made(
    call: Call, calls: list, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert_refused(call(train.main, *arguments), message)
    assert (list(tmp_path.iterdir()), calls) == ([], [])


def test_resume_and_sweep_exclude_each_other(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(train.main, "--resume", "a", "--sweep", "train.seed=0,1")
    assert "leave --sweep out" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        call(train.main, "--resume", "a", "--vary", "augment.flip=true")
    assert "leave --vary out" in capfd.readouterr().err


# What a sweep leaves, and how it goes on.


def test_every_combination_is_trained_and_a_failure_noted(
    call: Call, calls: list, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    swept = ["--sweep", "train.batch_size=49,8", "train.seed=3,4"]  # of 48 images
    options = [*without(tiny, "train.batch_size", "train.seed"), "train.epochs=1"]
    ended = call(train.main, *options, *swept, "--device", "cpu")
    assert ended.code == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"sweep-baseline-\d{8}-\d{6}", folder.name)
    names = [f"batch_size={size},seed={seed}" for size in (49, 8) for seed in (3, 4)]
    assert [Path(arguments[arguments.index("--run") + 1]).name for arguments in calls] == names
    assert {path.name for path in folder.iterdir()} == {*names[2:], "sweep.yml", "table.md", "table.csv", ".lock"}

    with open(folder / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["failed: exit code 2"] * 2 + [FINISHED] * 2
    for row, name in zip(rows[2:], names[2:], strict=True):
        (metrics,) = RunFolder(folder / name).read_metrics()
        assert RunFolder(folder / name).read_config().train.seed == int(row["train.seed"])
        assert (float(row["val_top1"]), float(row["val_loss"])) == (metrics.val_top1, metrics.val_loss)
    assert rows[2]["val_loss"] != rows[3]["val_loss"]
    assert "±" in (folder / "table.md").read_text()
    assert f"2 of 4 runs failed; try these again with:\npython train.py --resume runs/{folder.name}\n" in ended.out
    assert "\nrun 1 of 4: batch_size=49 seed=3\n" in ended.out
    assert "failed: batch_size=49 seed=4: exit code 2\n" in ended.out
    assert all("--brief" in arguments for arguments in calls)  # no table of layers in each run
    printed = [line for line in ended.out.splitlines() if str(folder.name) not in line]
    assert all(len(line) <= 80 for line in printed), max(printed, key=len)


def test_a_stopped_sweep_goes_on_where_it_was(
    call: Call, calls: list, tiny: tuple[str, ...], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    options = without(tiny, "train.checkpoint_every")
    arguments = [*options, "--sweep", "train.checkpoint_every=3,4,5", "--run", folder, "--device", "cpu"]
    train_here, read_metrics = Launcher.train, Trainer._read_metrics

    def interrupted(trainer: Trainer, max_pending: int) -> None:
        if trainer.progress.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        read_metrics(trainer, max_pending)

    def stopping(launcher: Launcher, arguments: Sequence[str]) -> str | None:
        if len(calls) == 1:
            monkeypatch.setattr(Trainer, "_read_metrics", interrupted)
            launcher.signal = signal.SIGTERM
        return train_here(launcher, arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Launcher, "train", stopping)
        ended = call(train.main, *arguments)
    monkeypatch.setattr(Trainer, "_read_metrics", read_metrics)
    assert ended.code == 143
    assert ended.out.endswith(f"stopped; go on with:\npython train.py --resume {folder}\n")
    assert re.search(r"^run 2 of 3, about \d+:\d\d left: checkpoint_every=4$", ended.out, re.MULTILINE)
    assert states(folder) == [FINISHED, "unfinished", "waiting"]
    done = RunFolder(folder / "checkpoint_every=3").last.stat().st_mtime_ns

    assert call(train.main, *arguments).code == 0  # the same command again
    assert [arguments[0] for arguments in calls] == ["baseline", "baseline", "--resume", "baseline"]
    assert RunFolder(folder / "checkpoint_every=3").last.stat().st_mtime_ns == done
    assert_same_outcome(folder / "checkpoint_every=4", finished)
    assert states(folder) == [FINISHED] * 3

    ended = call(train.main, "--resume", folder)
    assert (ended.code, len(calls)) == (0, 4)
    assert ended.out.count(" finished\n") == 3


def test_a_sweep_keeps_the_presets_that_it_began_with(call: Call, tmp_path: Path, calls: list) -> None:
    (tmp_path / "own.yml").write_text("mine:\n  extends: demo\n  train: {batch_size: 0128}\n")
    arguments = ["mine", "data.root=nowhere", "--sweep", "train.seed=010,8", "--config", "own.yml", "--run", "sweep"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Launcher, "train", lambda launcher, arguments: calls.append(list(arguments)))
        assert call(train.main, *arguments).code == 0
        (tmp_path / "own.yml").write_text("mine:\n  extends: demo\n")
        assert_refused(call(train.main, *arguments), "sweep: holds another sweep")
        (tmp_path / "own.yml").unlink()
        assert call(train.main, "--resume", "sweep").code == 0
    assert len(calls) == 4
    for made in calls:
        file = Path(made[made.index("--config") + 1])
        assert load_config("mine", ["train.seed=010"], file).train.batch_size == 128
    sweep = Sweep.open(tmp_path / "sweep")
    assert [load_config("mine", sweep.options(v), sweep.config).train.seed for v in sweep.combinations()] == [10, 8]


def test_the_time_left_is_that_of_the_runs_that_are_left(tmp_path: Path) -> None:
    """Three of 90 s on average. The line wraps between the options."""
    sweep = Sweep.create("demo", [], ["optim.learning_rate=1e-3,1e-4", "train.seed=0,1"], tmp_path / "sweep")
    values = sweep.combinations()[1]
    lines = sweep_runner._heading(sweep, values, "run 2 of 4", [60.0, 120.0], [2, 3, 4]).splitlines()
    assert lines == ["run 2 of 4, about 4:30 left: learning_rate=1e-3 seed=1"]
    assert sweep_runner._heading(sweep, values, "run 2 of 4", [], [2, 3, 4]) == "run 2 of 4: learning_rate=1e-3 seed=1"
    long = Sweep.create("demo", [], ["data.root=/" + "a" * 70], tmp_path / "long")
    assert len(sweep_runner._heading(long, long.combinations()[0], "run 1 of 1", [], [1]).splitlines()) == 2


def states(folder: Path) -> list[str]:
    with open(folder / "table.csv", newline="") as file:
        return [row["state"] for row in csv.DictReader(file)]


def test_killed_behind_its_last_row_a_run_is_not_finished(finished: Path, tmp_path: Path) -> None:
    """The best parameters may not have been saved yet."""
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "copy")))
    assert sweep_runner._is_finished(run)
    with zipfile.ZipFile(run.last) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["checkpoint.json"])
    header["meta"]["progress"]["loss_count"] = STEPS_PER_EPOCH
    with zipfile.ZipFile(run.last, "w") as archive:
        for name, content in (members | {"checkpoint.json": json.dumps(header).encode()}).items():
            archive.writestr(name, content)
    assert not sweep_runner._is_finished(run)
    run.last.write_bytes(b"half a checkpoint")
    assert not sweep_runner._is_finished(run)


@pytest.mark.parametrize(("length", "ended"), [("train.steps=7", True), ("train.steps=8", False)])
def test_a_run_of_so_many_steps_is_finished_with_the_last(tmp_path: Path, length: str, ended: bool) -> None:
    run = RunFolder.create("demo", tmp_path / "run")
    run.write_config(load_config("demo", [length]))
    assert not run.has_all_steps()
    run.append_metrics(row(epoch=1, step=6))
    run.append_metrics(row(epoch=2, step=7))
    assert run.has_all_steps() == ended


def test_a_folder_holds_one_sweep(call: Call, calls: list, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = Sweep.create("demo", [], ["train.seed=0,1"], folder)
    for other in (["--sweep", "train.seed=0,2"], ["train.epochs=3", "--sweep", "train.seed=0,1"]):
        ended = call(train.main, "demo", *other, "--run", folder)
        assert_refused(ended, f"{folder}: holds another sweep; go on with `--resume {folder}`")
    assert_refused(call(train.main, "--resume", folder, "train.epochs=3"), "keeps the options that its sweep began")
    with RunFolder(folder).lock():
        assert_refused(call(train.main, "--resume", folder), "another training")
    sweep.runs()[0].path.mkdir()
    sweep.runs()[0].write_config(load_config("demo"))
    ended = call(train.main, "--sweep", "train.seed=0,1", "--run", sweep.runs()[0].path)
    assert_refused(ended, "holds a run already")
    assert calls == []


def test_a_preset_that_has_changed_is_mentioned(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run began with stays; the runs after it would be others."""
    monkeypatch.setattr(Launcher, "train", lambda launcher, arguments: None)
    sweep = Sweep.create("demo", [], ["train.seed=0"], tmp_path / "sweep")
    run = RunFolder.create("demo", sweep.runs()[0].path)
    run.write_config(load_config("demo", ["train.seed=0"]))
    assert call(train.main, "--resume", sweep.folder).err == ""
    run.write_config(load_config("demo", ["train.seed=0", "optim.beta1=0.5"]))
    ended = call(train.main, "--resume", sweep.folder)
    assert ended.err.startswith(f"warning: {run.path}: began with other options than configs.yml gives it today")


@pytest.mark.parametrize("text", ["- 1", "preset: demo", "preset: demo\noverrides: []\nsweep: 3", "preset: {"])
def test_a_damaged_description_is_refused(call: Call, tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.yml").write_text(text)
    assert_refused(call(train.main, "--resume", tmp_path), rf"^error: {tmp_path}/sweep\.yml\b")


# The process of a run.


def launch(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | None, Launcher]:
    """What comes of running this in place of train.py."""
    path = tmp_path / "script.py"
    path.write_text(script)
    monkeypatch.setattr(sweep_runner, "TRAIN", path)
    with Launcher() as launcher:
        return launcher.train(["one", "two words"]), launcher


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("import sys; sys.exit(sys.argv[1:] != ['one', 'two words'])", None),
        ("import sys; print('error: the loss is nan. Try less.', file=sys.stderr); sys.exit(2)", "the loss is nan"),
        ("raise RuntimeError('a bug')", "RuntimeError: a bug"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_why_a_run_failed(
    script: str, failure: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launch(script, tmp_path, monkeypatch)[0] == failure
    if failure and "nan" in failure:
        assert capfd.readouterr().err == "error: the loss is nan. Try less.\n"  # shown whole


@pytest.mark.parametrize(
    ("sent", "got"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGTERM)],
)
def test_a_signal_is_passed_on(
    sent: signal.Signals, got: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import os, signal, sys
signal.signal({int(got)}, lambda *_: sys.exit("got it"))
os.kill(os.getppid(), {int(sent)})
while True:
    signal.pause()
"""
    before = signal.signal(sent, signal.SIG_DFL)
    failure, launcher = launch(script, tmp_path, monkeypatch)
    assert (failure, launcher.signal) == ("got it", sent)
    assert signal.signal(sent, before) == signal.SIG_DFL


def test_under_nohup_a_closed_terminal_stops_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Launcher():
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


# The script that is run in place of train.py comes first.
SWEEP = """
import sys
from pathlib import Path
import train
from training import sweep_runner
from common.command import run_command

sweep_runner.TRAIN = Path(sys.argv.pop(1))
sys.exit(run_command(train.main))
"""


def test_ctrl_c_saves_the_run_and_the_sweep_goes_on_later(
    call: Call, calls: list, tiny: tuple[str, ...], finished: Path, programs: Path, tmp_path: Path
) -> None:
    """All processes are real, and the signal comes from outside, as from a terminal."""
    slow, folder = tmp_path / "slow.py", tmp_path / "sweep"
    slow.write_text(SLOW)
    options = without(tiny, "train.seed")
    arguments = [slow, *options, "--sweep", "train.seed=3,4", "--run", folder, "--device", "cpu"]
    with start_python("-c", SWEEP, *arguments, cache=programs, cwd=tmp_path, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 1/3"):
                os.killpg(process.pid, signal.SIGINT)
                break
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130, out + err
    assert "stopping: the step is finished and saved" in err
    assert f"stopped; go on with:\npython train.py --resume {folder}\n" in out
    assert states(folder) == ["unfinished", "waiting"]
    assert call(train.main, "--resume", folder, "--device", "cpu").code == 0
    assert_same_outcome(folder / "seed=3", finished)


def test_a_run_stops_when_its_sweep_is_killed(tmp_path: Path) -> None:
    """Even by kill -9: the pipe to the run is closed. It saves, and a sweep that is resumed waits for that."""
    (tmp_path / "script.py").write_text(f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from common.interrupt import StopRequest, stop_at_end_of_input
from training.run_folder import RunFolder

stop_at_end_of_input()
with RunFolder(Path({str(tmp_path)!r})).lock(), StopRequest() as stop:
    Path({str(tmp_path / "began")!r}).touch()
    for _ in range(500):
        if stop.signal:
            break
        time.sleep(0.02)
    time.sleep(0.3)
    Path({str(tmp_path / "ended")!r}).write_text(str(stop.signal))
""")
    code = (
        "from pathlib import Path; from training import sweep_runner\n"
        f"sweep_runner.TRAIN = Path({str(tmp_path / 'script.py')!r})\n"
        "with sweep_runner.Launcher() as launcher: launcher.train([])"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as sweep:
        wait_until((tmp_path / "began").exists)
        sweep.kill()
    with Launcher() as launcher:
        launcher.wait_for(RunFolder(tmp_path))
    assert (tmp_path / "ended").read_text() == str(signal.SIGTERM)


def test_waiting_for_a_run_ends_with_a_signal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path).lock(), Launcher() as launcher:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        launcher.wait_for(RunFolder(tmp_path))
    assert launcher.signal == signal.SIGTERM
    assert capfd.readouterr().err == f"waiting for process {os.getpid()}, which trains this run\n"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Tables.


def row(epoch: int = 1, step: int = 6, top1: float = 0.5) -> MetricsRow:
    times = {"images_per_second": 9.0, "seconds": 61.7, "data_wait": 0.0}
    return MetricsRow(epoch, step, 2.0, 1.5, top1, 0.9, learning_rate=0.1, **times)


ENTRIES = [
    Entry(("[64,48]", "0"), FINISHED, [row(1, 6, 0.1), row(2, 12, 0.2), row(3, 15, 0.3)], "a"),
    Entry(("[64,48]", "1"), FINISHED, [row(1, 6, 0.1), row(2, 12, 0.2), row(3, 15, 0.4)], "b"),
    Entry(("64", "0"), FINISHED, [row(1, 6, 0.25)], "c"),
    Entry(("64", "1"), "failed: a|b", [], "d"),
]


def test_the_table_by_hand() -> None:
    assert format_markdown(["model.image_size", "train.seed"], ["image_size", "seed"], ENTRIES) == EXPECTED.lstrip()


EXPECTED = r"""
| image_size | seed | passes | steps | train loss | val loss |  top-1 |  top-5 | seconds | state        |
| ---------- | ---- | -----: | ----: | ---------: | -------: | -----: | -----: | ------: | ------------ |
| [64,48]    | 0    |    2.5 |    15 |      2.000 |    1.500 | 30.00% | 90.00% |      62 | finished     |
| [64,48]    | 1    |    2.5 |    15 |      2.000 |    1.500 | 40.00% | 90.00% |      62 | finished     |
| 64         | 0    |      1 |     6 |      2.000 |    1.500 | 25.00% | 90.00% |      62 | finished     |
| 64         | 1    |        |       |            |          |        |        |         | failed: a\|b |

Mean and standard deviation over the seeds that are finished:

| image_size | seeds |    train loss |      val loss |          top-1 |          top-5 |
| ---------- | ----: | ------------: | ------------: | -------------: | -------------: |
| [64,48]    |     2 | 2.000 ± 0.000 | 1.500 ± 0.000 | 35.00% ± 7.07% | 90.00% ± 0.00% |
| 64         |     1 |         2.000 |         1.500 |         25.00% |         90.00% |
"""


def test_the_table_on_a_terminal_by_hand() -> None:
    text = format_text(["model.image_size", "train.seed"], ["image_size", "seed"], ENTRIES)
    assert text == ON_A_TERMINAL.lstrip()
    assert "top-5" not in format_text(["train.seed"], ["seed"], [Entry(("0",), FINISHED, [row()], "a")], top5=False)
    assert "top-5" not in format_markdown(["train.seed"], ["seed"], [Entry(("0",), FINISHED, [row()], "a")], top5=False)


def test_the_accuracy_of_a_probe_is_called_so() -> None:
    averaged = row()._replace(ema_loss=1.25, ema_top1=0.625)
    probe, labels = (Entry((name,), FINISHED, [averaged], name, name) for name in ("probe", "top-1"))
    waiting = Entry(("0",), "waiting", [], "w")
    assert [column.title for column in columns_of([probe, waiting]) if column.name.endswith("top1")] == [
        "probe", "probe, average",
    ]  # fmt: skip
    assert [column.title for column in columns_of([labels, probe]) if column.name.endswith("top1")] == [
        "probe or top-1", "probe or top-1, average",
    ]  # fmt: skip
    assert "top-1" in format_text(["k"], ["k"], [waiting])
    means = format_text(["k", "train.seed"], ["k", "seed"], [probe._replace(values=("a", seed)) for seed in "01"])
    assert (means.count("probe"), means.count("top-1")) == (4, 0)


ON_A_TERMINAL = """
run 1: image_size=[64,48] seed=0
run 2: image_size=[64,48] seed=1
run 3: image_size=64 seed=0
run 4: image_size=64 seed=1

run  passes  steps  train loss  val loss   top-1   top-5  seconds  state
---  ------  -----  ----------  --------  ------  ------  -------  --------
1       2.5     15       2.000     1.500  30.00%  90.00%       62  finished
2       2.5     15       2.000     1.500  40.00%  90.00%       62  finished
3         1      6       2.000     1.500  25.00%  90.00%       62  finished
4                                                                  failed
failed: image_size=64 seed=1: a|b

Mean and standard deviation over the seeds that are finished:

image_size  seeds     train loss       val loss           top-1           top-5
----------  -----  -------------  -------------  --------------  --------------
[64,48]         2  2.000 ± 0.000  1.500 ± 0.000  35.00% ± 7.07%  90.00% ± 0.00%
64              1          2.000          1.500          25.00%          90.00%
"""


@pytest.mark.parametrize("length", [1, 30, 200])
def test_a_table_fits_the_terminal_however_long_the_values(length: int) -> None:
    averaged = row()._replace(ema_loss=1.25, ema_top1=0.625)
    entries = [Entry((f"x{' y' * length}", seed), f"failed: {'z ' * length}", [averaged], "") for seed in "01"]
    text = format_text(["change", "train.seed"], ["change", "seed"], entries)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "top-1, average" in text


def test_passes_are_counted_also_where_only_some_are_evaluated() -> None:
    every_tenth = [row()._replace(epoch=epoch, step=6 * epoch) for epoch in (10, 20, 25)]
    assert passes(every_tenth) == [10, 20, 25]
    assert passes([row()._replace(epoch=1, step=4)]) == [1]  # the run ended within the first one


def test_the_csv_file_by_hand() -> None:
    header, first, *_, last = csv.reader(format_csv(["model.image_size", "train.seed"], ENTRIES).splitlines())
    assert dict(zip(header, first, strict=True)) == {
        "model.image_size": "[64,48]", "train.seed": "0", "passes": "2.5", "step": "15", "train_loss": "2",
        "val_loss": "1.5", "val_top1": "0.3", "val_top5": "0.9", "seconds": "61.7", "state": "finished", "folder": "a",
    }  # fmt: skip
    assert last == ["64", "1", *[""] * 7, "failed: a|b", "d"]


def test_a_moving_average_has_its_columns() -> None:
    averaged = row()._replace(ema_loss=1.25, ema_top1=0.625)
    entries = [Entry((seed,), FINISHED, [averaged], seed) for seed in "01"] + [Entry(("2",), FINISHED, [row()], "2")]
    lines = format_markdown(["train.seed"], ["seed"], entries).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][7:9] == ["val loss, average", "top-1, average"]
    assert [line[7:9] for line in cells[2:5]] == [["1.250", "62.50%"]] * 2 + [["", ""]]
    assert (cells[-1][0], cells[-1][-2:]) == ("3", ["1.250 ± 0.000", "62.50% ± 0.00%"])
    assert "ema_loss,ema_top1" in format_csv(["train.seed"], entries)


def test_one_seed_has_no_spread() -> None:
    assert "Mean" not in format_markdown(["train.seed"], ["seed"], [Entry(("0",), FINISHED, [row()], "a")])
    assert "Mean" not in format_markdown(["model.layers"], ["layers"], [Entry(("2",), FINISHED, [row()], "a")] * 2)
