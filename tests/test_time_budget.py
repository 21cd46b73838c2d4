"""train.minutes: the steps that fit, fixed once, and a run that is from then on one of train.steps."""

import dataclasses
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train
from tests.conftest import Ended
from tests.tiny_runs import assert_same_outcome
from training import time_budget
from training.config import load_config
from training.dispatches import Dispatches
from training.plan import Plan
from training.run_folder import RunFolder
from training.sweep_runner import _same
from training.time_budget import Speed, seconds_needed, steps_within
from training.trainer import Trainer

Call = Callable[..., Ended]
PLAN = Plan(total_steps=1000, steps_per_epoch=4, checkpoint_every=3, steps_per_dispatch=1)
SPEED = Speed(step=1.0, evaluation=2.0, checkpoint=0.5)


def test_what_steps_take_by_hand() -> None:
    assert seconds_needed(0, SPEED, PLAN) == 0
    assert seconds_needed(1, SPEED, PLAN) == 1 + 2 + 3 * 0.5  # the end of the run is that of an epoch
    assert seconds_needed(9, SPEED, PLAN) == 9 + 3 * (2 + 3 * 0.5) + 3 * 0.5
    without = dataclasses.replace(PLAN, checkpoint_every=None)
    assert seconds_needed(9, SPEED, without) == 9 + 3 * (2 + 3 * 0.5)


@pytest.mark.parametrize("seconds", [4.4, 4.5, 5.4, 17.0, 17.5, 60.0, 1234.5])
def test_one_step_more_would_be_too_long(seconds: float) -> None:
    steps = steps_within(seconds, SPEED, PLAN)
    assert seconds_needed(steps, SPEED, PLAN) <= seconds < seconds_needed(steps + 1, SPEED, PLAN)


def with_minutes(tiny: tuple[str, ...], minutes: float, run: Path) -> list[str | Path]:
    return [*tiny, "train.epochs=null", f"train.minutes={minutes}", "--device", "cpu", "--run", run]


def test_a_run_by_time_is_one_by_steps(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    """Measured in earnest, it takes about its time, and ends as the run of so many steps does, bit for bit."""
    run = RunFolder(tmp_path / "run")
    ended = call(train.main, *with_minutes(tiny, 0.02, run.path))
    assert ended.code == 0, ended
    length = run.read_config().train
    assert (length.epochs, length.minutes) == (None, None)
    assert length.steps is not None
    note = run.config_file.read_text().splitlines()[:2]
    assert re.fullmatch(rf"# train\.minutes=0\.02 became train\.steps={length.steps}, .* cores:", note[0]), note
    assert re.fullmatch(r"# .* s a step, .* s an evaluation, .* s a checkpoint", note[1]), note
    assert all(len(line) <= 80 and line.removeprefix("# ") in ended.out for line in note)
    last = run.read_metrics()[-1]
    assert last.step == length.steps
    assert last.seconds < 10 * 0.02 * 60  # its files and evaluations wait for a disk that others share
    assert not (run.path / time_budget.TRIAL).exists()

    by_steps = [*tiny, "train.epochs=null", f"train.steps={length.steps}", "--device", "cpu", "--run", tmp_path / "b"]
    assert call(train.main, *by_steps).code == 0
    assert_same_outcome(run.path, tmp_path / "b")

    again = call(train.main, "--resume", run.path, "--device", "cpu")
    assert f"already trained for {length.steps} steps" in again.out
    assert run.config_file.read_text().splitlines()[:2] == note


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> list[Speed]:
    """Measurements in this list are taken in turn: a second one would be of a faster machine."""
    speeds = [Speed(0.1, 0.2, 0.01), Speed(0.01, 0.02, 0.001)]
    monkeypatch.setattr(time_budget, "measure", lambda *_: speeds.pop(0))
    return speeds


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during that step, once."""
    read = Trainer._read_metrics

    def interrupted(trainer: Trainer, *arguments: Any) -> None:
        if trainer.progress.step == step:
            monkeypatch.setattr(Trainer, "_read_metrics", read)
            os.kill(os.getpid(), signal.SIGINT)
        read(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_read_metrics", interrupted)


def test_a_resumed_run_has_the_same_steps(
    call: Call, tiny: tuple[str, ...], tmp_path: Path, known_speed: list[Speed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cosine with warmup: another number of steps would be another learning rate in every one of them."""
    cosine = (*tiny, "optim.schedule=cosine", "optim.warmup=0.2")
    interrupt_at(5, monkeypatch)
    ended = call(train.main, *with_minutes(cosine, 0.027, tmp_path / "run"))
    assert (ended.code, ended.out.splitlines()[-2]) == (130, "stopped after step 5")
    assert call(train.main, "--resume", tmp_path / "run", "--device", "cpu").code == 0
    steps = RunFolder(tmp_path / "run").read_config().train.steps
    assert steps == 11  # 1.1 s, two evaluations 0.4, two saves amid epochs and six at their ends 0.08: 1.58 of 1.62 s
    assert len(known_speed) == 1  # measured once
    by_steps = [*cosine, "train.epochs=null", f"train.steps={steps}", "--device", "cpu", "--run", tmp_path / "b"]
    assert call(train.main, *by_steps).code == 0
    assert_same_outcome(tmp_path / "run", tmp_path / "b")


def test_interrupted_while_it_measures(
    call: Call, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fixed yet, and the resumed run measures again."""
    compile_dispatch = Dispatches.compile

    def interrupted(dispatches: Dispatches, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return compile_dispatch(dispatches, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Dispatches, "compile", interrupted)
        ended = call(train.main, *with_minutes(tiny, 0.01, tmp_path / "run"))
    assert (ended.code, ended.out.splitlines()[-2]) == (130, "stopped after step 0")
    run = RunFolder(tmp_path / "run")
    assert run.read_config().train.minutes == 0.01
    assert not run.last.exists()
    monkeypatch.setattr(time_budget, "measure", lambda *_: Speed(0.1, 0.2, 0.01))
    assert call(train.main, "--resume", run.path, "--device", "cpu").code == 0
    assert run.read_metrics()[-1].step == run.read_config().train.steps == 3


def test_too_little_time(call: Call, tiny: tuple[str, ...], tmp_path: Path, known_speed: list[Speed]) -> None:
    ended = call(train.main, *with_minutes(tiny, 0.005, tmp_path / "run"))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert re.search(r"train\.minutes=0\.005 is not enough for one step .* give at least 0\.0061", ended.err), ended.err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"classes.json", "log.txt", ".lock"}
    assert call(train.main, *with_minutes(tiny, 0.01, tmp_path / "run")).code == 0  # in the same folder


def test_a_sweep_knows_its_runs_again() -> None:
    """Minutes that became steps are no change of the options; others are."""
    today = load_config("demo", ["train.minutes=5"])
    began = load_config("demo", ["train.steps=77"])
    assert _same(began, today)
    assert not _same(load_config("demo", ["train.steps=77", "train.seed=1"]), today)
    assert not _same(began, load_config("demo", ["train.steps=78"]))
