"""`python -m training.runs`, and the choice of a run: the best of a sweep, the newest, the one that is named."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import UserError
from tests.conftest import Ended
from tests.test_trained import CLASSES, CONFIG
from training import runs
from training.chosen_run import choose_run
from training.metrics import MetricsRow
from training.run_folder import RunFolder
from training.sweep import Sweep

Call = Callable[..., Ended]


def row(epoch: int, top1: float | None, ema: float | None = None) -> MetricsRow:
    return MetricsRow(epoch, epoch, 1.0, 1.0, top1, top1, 0.1, 10.0, 1.0, 0.0, ema, None if ema is None else 1.0)


def make(path: Path, *rows: MetricsRow, fingerprint: str = "fingerprint", when: int = 0, trained: bool = True) -> Path:
    """A run with these metrics, and a file in place of a checkpoint."""
    run = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    run.write_config(CONFIG)
    run.write_classes(replace(CLASSES, fingerprint=fingerprint))
    for each in rows:
        run.append_metrics(each)
    if trained:
        run.last.touch()
    noon = 86_400 * (when + 1) + 43_200  # the same day in most time zones
    for file in path.iterdir():
        os.utime(file, (noon, noon))
    return path


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """A sweep of four runs: the third is the best one."""
    sweep = Sweep.create("demo", [], ["train.seed=0,1,2,3"], tmp_path / "runs" / "sweep")
    for run, top1 in zip(sweep.runs(), (0.2, 0.3, 0.6, 0.5), strict=True):
        make(run.path, row(1, top1), row(2, 0.1))
    return sweep


def test_runs_are_listed_with_the_best_of_each_data_set(call: Call, tmp_path: Path, sweep: Sweep) -> None:
    make(tmp_path / "runs" / "new", row(1, 0.5), when=3)
    make(tmp_path / "runs" / "other", row(1, 0.9), row(2, 0.8), fingerprint="another", when=2)
    make(tmp_path / "runs" / "averaged", row(1, 0.1, 0.7), row(2, 0.95, 0.6), when=1)
    make(tmp_path / "runs" / "unsaved", row(1, 0.99), trained=False, when=4)
    make(tmp_path / "runs" / "begun", when=5)
    ended = call(runs.main)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split() for line in lines[2:11]] == [
        ["runs/sweep"],
        *(
            [f"seed={seed}", "tiny_imagenet", "943", best, "10.00%", "1970-01-02"]
            for seed, best in enumerate(("20.00%", "30.00%", "60.00%", "50.00%"))
        ),
        ["*", "runs/averaged", "tiny_imagenet", "943", "70.00%", "60.00%", "1970-01-03"],
        ["*", "runs/other", "tiny_imagenet", "943", "90.00%", "80.00%", "1970-01-04"],
        ["runs/new", "tiny_imagenet", "943", "50.00%", "50.00%", "1970-01-05"],
        ["runs/unsaved", "tiny_imagenet", "943", "99.00%", "99.00%", "1970-01-06"],
    ]
    assert lines[11].split() == ["runs/begun", "tiny_imagenet", "943", "-", "-", "1970-01-07"]
    assert "  python predict.py IMAGE --run runs/averaged" in lines
    assert "  python predict.py IMAGE --run runs/other" in lines
    assert "1 run without a checkpoint, such as runs/unsaved" in lines
    assert all(len(line) <= 80 for line in lines)


def test_damaged_runs_are_named_and_do_not_stop_the_list(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "runs" / "whole", row(1, 0.5))
    for name, file in (("a", "config.yml"), ("b", "metrics.csv"), ("c\x1b[2J", "classes.json")):
        (make(tmp_path / "runs" / name, row(1, 0.9)) / file).write_text("{\n")
    ended = call(runs.main)
    assert ended.code == 0
    assert "* runs/whole" in ended.out
    assert [line.split(": left out: ")[0] for line in ended.err.splitlines()] == ["runs/a", "runs/b", r"runs/c\x1b[2J"]
    assert "config.yml" in ended.err.splitlines()[0]


def test_a_name_that_is_too_long_has_a_line_of_its_own(call: Call, tmp_path: Path) -> None:
    make(tmp_path / "runs" / ("long" * 20), row(1, 0.5))
    lines = call(runs.main).out.splitlines()
    assert lines[2] == f"* runs/{'long' * 20}"
    assert lines[3].split() == ["tiny_imagenet", "943", "50.00%", "50.00%", "1970-01-02"]
    assert len(lines[3]) <= 80


def test_images_with_a_long_description_stay_within_the_table(call: Call, tmp_path: Path) -> None:
    run = RunFolder(make(tmp_path / "runs" / "a", row(10, 0.5)))
    run.config_file.unlink()
    run.write_config(replace(CONFIG, data=replace(CONFIG.data, classes=3, holdout=0.1)))
    lines = call(runs.main).out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("* best on"))
    assert " ".join(line.strip() for line in lines[at:-1]) == (
        "* best on tiny_imagenet, the first 3 classes, 10% of the training images held out: 50.00% in epoch 10:"
    )
    assert all(len(line) <= 80 for line in lines)


def test_a_folder_without_runs(call: Call, tmp_path: Path) -> None:
    assert call(runs.main).err.startswith(f"error: {tmp_path}/runs: there is no such folder; train one with")
    (tmp_path / "runs").mkdir()
    assert call(runs.main).err.startswith(f"error: {tmp_path}/runs: no run in it; train one with")


def test_the_best_of_a_sweep_is_chosen(sweep: Sweep, call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    names = [run.path for run in sweep.runs()]
    assert choose_run(sweep.folder).path == names[2]
    assert choose_run(names[0]).path == names[0]
    (names[2] / "last.npz").unlink()
    assert choose_run(sweep.folder).path == names[3]
    (names[3] / "metrics.csv").write_text("damaged\n")
    assert choose_run(sweep.folder).path == names[1]
    assert f"warning: {names[3]}: left out ({names[3]}/metrics.csv: its columns are not" in capfd.readouterr().err
    with pytest.raises(UserError, match=r"no run with a checkpoint in it but those of sweeps; name one: runs/sweep"):
        choose_run(None)
    for name in names:
        (name / "last.npz").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"no run of this sweep has been evaluated and has a checkpoint yet"):
        choose_run(sweep.folder)
    assert "* " not in call(runs.main, sweep.folder).out
