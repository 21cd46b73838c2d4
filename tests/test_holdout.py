"""The slice of the training images that is validated on in place of the validation images."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import evaluate
import gradcheck
import train
from common.errors import DataError
from data.dataset import Dataset, Split
from data.holdout import held_out_rows, hold_out
from tests.conftest import Ended
from training.run_folder import RunFolder

Call = Callable[..., Ended]


def numbered(classes: int = 3, each: int = 20) -> Dataset:
    """Image i holds the value i; the classes take turns."""
    images = np.broadcast_to(np.arange(classes * each, dtype=np.uint8)[:, None, None, None], (classes * each, 2, 2, 3))
    labels = np.arange(classes * each, dtype=np.int32) % classes
    class_ids = tuple(f"n{i}" for i in range(classes))
    official = Split(np.full((5, 2, 2, 3), 255, np.uint8), np.zeros(5, np.int32))
    return Dataset(Split(images, labels), official, class_ids, class_ids, (0.5,) * 3, (0.2,) * 3, "numbered")


def numbers(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


def test_each_image_is_on_one_side_with_its_label_and_each_class_has_its_share() -> None:
    whole = numbered()
    parts = hold_out(whole, 0.25)
    assert sorted(numbers(parts.train) + numbers(parts.val)) == list(range(60))
    for split, each in ((parts.train, 15), (parts.val, 5)):
        assert [number % 3 for number in numbers(split)] == split.labels.tolist()
        assert np.bincount(split.labels).tolist() == [each] * 3
        assert numbers(split) == sorted(numbers(split))
    assert parts._replace(train=whole.train, val=whole.val, held_out=0.0) == whole
    assert parts.held_out == 0.25


def test_without_a_share_nothing_is_touched() -> None:
    whole = numbered()
    assert hold_out(whole, 0.0) is whole


def test_the_slice_never_changes_between_versions() -> None:
    """Runs are compared on it, so it must be the same under another NumPy."""
    assert numbers(hold_out(numbered(classes=2, each=8), 0.25).val) == [7, 8, 10, 15]


def test_a_smaller_slice_lies_within_a_larger_one() -> None:
    labels = numbered().train.labels
    small, large = (held_out_rows(labels, share, ("a", "b", "c")) for share in (0.1, 0.5))
    assert (small.sum(), large.sum(), (small & large).sum()) == (6, 30, 6)


@pytest.mark.parametrize(("share", "count"), [(0.01, 0), (0.99, 20)])
def test_a_class_needs_an_image_on_either_side(share: float, count: int) -> None:
    with pytest.raises(DataError, match=rf"data\.holdout={share}: of the 20 .* class n0, {count} would be held out"):
        hold_out(numbered(), share)


# With the commands. The shapes have 4 training images a class: one is held out.


@pytest.fixture
def held_out(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> Path:
    """A run of one epoch of 36 images, validated on 12."""
    run = tmp_path / "held_out"
    ended = call(train.main, *tiny, "data.holdout=0.25", "train.epochs=1", "--device", "cpu", "--run", run)
    assert ended.code == 0, ended
    assert "\n        36 training images of 12 classes; chance: 8.33% top-1\n" in ended.out
    assert "\n        evaluated on 12 training images held out (data.holdout=0.25)\n" in ended.out
    assert "4 steps of 8 images, 4 an epoch" in ended.out
    return run


def test_evaluate_takes_the_slice_or_the_official_images_and_says_which(
    call: Call, held_out: Path, tmp_path: Path
) -> None:
    (row,) = RunFolder(held_out).read_metrics()
    told = {"": "12 training images held out (data.holdout=0.25)", "data.holdout=0": "36 validation images"}
    losses = []
    for override, images in told.items():
        arguments = [held_out, *filter(None, [override]), "--json", "report.json", "--device", "cpu"]
        ended = call(evaluate.main, *arguments)
        assert (ended.code, ended.err) == (0, "")
        assert f"on {images}, cpu" in ended.out
        report = json.loads((tmp_path / "report.json").read_text())
        assert (report["images"], report["holdout"]) == ((36, 0) if override else (12, 0.25))
        losses.append(report["loss"])
    assert losses[0] == pytest.approx(row.val_loss, rel=1e-5)
    assert losses[1] != pytest.approx(losses[0], rel=1e-3)


def test_gradcheck_says_that_its_images_were_held_out(call: Call, held_out: Path) -> None:
    ended = call(gradcheck.main, "--checkpoint", held_out, "--device", "cpu", "--only", "head")
    assert (ended.code, ended.err) == (0, "")
    assert " of 12 training images held out (data.holdout=0.25)\n" in ended.out


def test_evaluate_refuses_a_slice_that_was_trained_on(call: Call, held_out: Path, finished: Path) -> None:
    for run, own in ((held_out, "0.25"), (finished, "0")):
        ended = call(evaluate.main, run, "data.holdout=0.5", "--device", "cpu")
        assert (ended.code, ended.out) == (2, "")
        assert re.search(rf"data\.holdout=0\.5: {run} was trained with data\.holdout={own}, so it knows", ended.err)


def test_a_resumed_run_keeps_its_slice(call: Call, held_out: Path) -> None:
    ended = call(train.main, "--resume", held_out, "data.holdout=0")
    assert ended.code == 2
    assert "keeps the options it began with" in ended.err
    ended = call(train.main, "--resume", held_out, "train.epochs=2", "--device", "cpu")
    assert ended.code == 0
    assert "evaluated on 12 training images held out (data.holdout=0.25)" in ended.out
    assert [row.step for row in RunFolder(held_out).read_metrics()] == [4, 8]


def test_a_share_too_small_leaves_no_folder(call: Call, tiny: tuple[str, ...], tmp_path: Path) -> None:
    ended = call(train.main, *tiny, "data.holdout=0.1")
    assert ended.code == 2
    assert ended.err.startswith("error: data.holdout=0.1: of the 4 training images of class ")
    assert list(tmp_path.iterdir()) == []
