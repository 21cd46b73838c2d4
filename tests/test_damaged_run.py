"""Runs whose files are gone, damaged or of different moments: refused, or continued with a warning; nothing is lost."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest

import evaluate
import gradcheck
import train
from tests.conftest import Ended
from training import checkpoint
from training.run_folder import RunFolder
from training.step_log import read_steps

Call = Callable[..., Ended]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def contents(run: Path) -> dict[str, bytes | None]:
    """Everything but what each call writes."""
    files = (path for path in run.iterdir() if path.name not in (".lock", "log.txt"))
    return {path.name: path.read_bytes() if path.is_file() else None for path in files}


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_model(path: Path) -> None:
    checkpoint.save(path, {"params": {"W": np.zeros(3)}}, {"step": 12, "val_top1": 0.5})


def change(old: str, new: str) -> Callable[[Path], None]:
    def changed(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return changed


def cut_at(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text().partition(text)[0])


def resume(call: Call, run: Path, *options: str) -> Ended:
    return call(train.main, "--resume", run, "--brief", "--device", "cpu", *options)


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("best.npz", halve, r"damaged or cut short \(.*\)\. To go on .*, move best\.npz away"),
        ("best.npz", flip, r".*damaged or cut short .* move best\.npz away"),
        ("best.npz", become_a_folder, r"a folder, where a checkpoint .* move best\.npz away"),
        ("best.npz", of_another_model, r"of another model: .* move best\.npz away"),
        ("last.npz", halve, r"damaged or cut short .*; `python evaluate\.py .*` evaluates best\.npz \(step \d+\)"),
        ("metrics.csv", change("epoch,step", "step,epoch"), r"its columns are not .*; move it away and run again"),
        ("metrics.csv", change("\n2,12,", "\n2,12;"), r", line 3: damaged: .*; delete the line"),
        ("steps.csv", change("step,loss", "loss,step"), r"its columns are not .*; move it away and run again"),
        ("steps.csv", change("\n9,", "\nx,"), r", line 10: damaged: .*; delete the line"),
        ("classes.json", halve, r"damaged or cut short .*; delete it: `python train\.py --resume RUN` writes it anew"),
        ("classes.json", change("fingerprint", "print"), r"damaged .*; delete it: `python train\.py --resume RUN`"),
        ("config.yml", change("  d_model: 8", "  d_model: 8\n  x: 3"), r"unknown option model\.x; .* or delete it"),
        ("config.yml", change("train:", "y: {}\ntrain:"), r"unknown section y; .* correct the line or delete it"),
        ("config.yml", cut_at("train:"), r"damaged or cut short: there is no section train; put the whole file back"),
        ("config.yml", cut_at("preset:"), r"not the configuration of a run"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused_and_left_as_it_is(
    call: Call, copy: Path, name: str, damage: Callable[[Path], None], told: str
) -> None:
    damage(copy / name)
    before = contents(copy)
    ended = resume(call, copy, "train.epochs=4")
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert re.search(f"^error: {copy}/{name}(: |, ).*{told.lstrip(', ')}", ended.err), ended.err
    assert contents(copy) == before  # not even the options have changed


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("best.npz", Path.unlink, r"missing; the parameters with top-1 \d+\.\d\d% are lost"),
        ("metrics.csv", Path.unlink, "missing; its rows begin here"),
        ("metrics.csv", cut_at("epoch"), "the rows up to step 18 are missing; its rows begin here"),
        ("metrics.csv", cut_at("1,6,"), "the rows up to step 18 are missing; its rows begin here"),
        ("metrics.csv", cut_at("3,18,"), "the row of step 18 is missing, and will be in no curve and no table"),
        ("steps.csv", Path.unlink, "missing; it goes on after step 18"),
        ("steps.csv", cut_at("17,"), "its rows after step 16 are missing; it goes on after step 18"),
        ("classes.json", Path.unlink, r"missing; it is written anew: last\.npz tells that these are the data"),
        ("config.yml", change("  beta2: 0.999\n", ""), r"it has no optim\.beta2, as if .* defaults from configs\.yml"),
    ],
)  # fmt: skip
def test_what_is_gone_is_warned_of(
    call: Call, copy: Path, finished: Path, name: str, damage: Callable[[Path], None], told: str
) -> None:
    damage(copy / name)
    ended = resume(call, copy)
    assert (ended.code, ended.err.count("\n")) == (0, 1), ended
    assert re.search(f"^warning: {copy}/{name}: {told}", ended.err), ended.err
    if name in ("classes.json", "config.yml"):
        assert (copy / name).read_bytes() == (finished / name).read_bytes()


def test_a_best_checkpoint_of_another_moment_stays_until_a_better_one(call: Call, copy: Path) -> None:
    """As where one of the two files was put back from a backup."""
    best = copy / "best.npz"
    arrays, meta = checkpoint.load(best)
    checkpoint.save(best, arrays, meta | {"step": 100, "val_top1": 1.0})
    before = best.read_bytes()
    ended = resume(call, copy, "train.epochs=4")
    assert ended.code == 0
    assert re.search(rf"^warning: {best}: of step 100, top-1 100\.00%, where last\.npz of step 18 expects", ended.err)
    assert best.read_bytes() == before


def test_rows_of_later_steps_than_the_checkpoint_are_kept_elsewhere(call: Call, copy: Path) -> None:
    metrics, steps, last = copy / "metrics.csv", copy / "steps.csv", (copy / "last.npz").read_bytes()
    assert resume(call, copy, "train.epochs=4", "train.log_every=4") == (0, ANY, "")
    later, later_steps = metrics.read_bytes(), steps.read_bytes()
    (copy / "last.npz").write_bytes(last)
    ended = resume(call, copy)
    assert f"{metrics}: 1 row of later steps than last.npz, which is of step 18, will be written again" in ended.err
    assert f"{steps}: its rows of later steps than last.npz, which is of step 18, will be written again" in ended.err
    assert (copy / "metrics-1.csv").read_bytes() == later
    assert (copy / "steps-1.csv").read_bytes() == steps.read_bytes() == later_steps
    assert [row.step for row, _ in read_steps(steps)] == [*range(1, 19), 20, 24]  # 18 is the last of one for each step
    assert [row.step for row in RunFolder(copy).read_metrics()] == [6, 12, 18, 24]


@pytest.mark.parametrize("known", [True, False])
def test_without_its_classes_a_run_still_keeps_its_data(call: Call, copy: Path, known: bool) -> None:
    (copy / "classes.json").unlink()
    arrays, meta = checkpoint.load(copy / "last.npz")
    checkpoint.save(copy / "last.npz", arrays, {"progress": meta["progress"]} | ({"data": "others"} if known else {}))
    ended = resume(call, copy)
    if known:
        assert ended.code == 2
        assert re.search(rf"^error: {copy}/classes\.json: missing, and these are not the data of {copy}", ended.err)
    else:
        assert ended.code == 0
        assert re.search(r"^warning: .*/classes\.json: missing; it is written anew .* cannot be checked$", ended.err)
    assert (copy / "classes.json").exists() != known


def test_a_run_that_another_process_trains_is_refused_in_a_line(call: Call, copy: Path) -> None:
    with RunFolder(copy).lock():
        ended = resume(call, copy)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"{copy}: another training (process {os.getpid()}) is writing this run" in ended.err


@pytest.mark.parametrize(
    ("bad", "good", "damage"),
    [("best", "last", halve), ("best", "last", flip), ("best", "last", of_another_model), ("last", "best", halve)],
)
def test_the_checkpoint_that_is_whole_is_named(
    call: Call, copy: Path, bad: str, good: str, damage: Callable[[Path], None]
) -> None:
    damage(copy / f"{bad}.npz")
    ended = call(evaluate.main, copy, "--checkpoint", bad, "--device", "cpu")
    told = rf"^error: {copy}/{bad}\.npz: .* {good}\.npz \(step \d+\) is whole: use it with --checkpoint {good}$"
    assert ended.code == 2
    assert re.search(told, ended.err), ended.err
    if damage is halve:
        assert call(evaluate.main, copy, "--checkpoint", good, "--device", "cpu").code == 0
        checked = call(gradcheck.main, "--checkpoint", f"{copy}/{bad}.npz", "--device", "cpu")
        assert f"is whole: use it with --checkpoint {copy}/{good}.npz\n" in checked.err


def test_a_checkpoint_can_be_named_for_the_gradient_check(
    call: Call, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halve(copy / "best.npz")
    monkeypatch.setattr(gradcheck.full_size, "run", lambda invocation: 0)
    ended = call(gradcheck.main, "--checkpoint", copy / "last.npz", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{copy}/last.npz (step 18, raw parameters)")


def test_a_best_checkpoint_that_is_gone_is_not_replaced_without_a_word(call: Call, copy: Path) -> None:
    (copy / "best.npz").unlink()
    ended = call(evaluate.main, copy, "--device", "cpu")
    assert (ended.code, ended.err) == (0, f"warning: {copy}/best.npz: missing; last.npz is used in its place\n")
    ended = call(evaluate.main, copy, "--checkpoint", "best", "--device", "cpu")
    assert (ended.code, ended.err) == (2, f"error: {copy}/best.npz: missing; use --checkpoint last\n")
