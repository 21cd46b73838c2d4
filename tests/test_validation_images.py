"""Validation images of a run as files, and the guesses of an evaluation for each: a number means the same image."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evaluate
from data.tiny_imagenet import load
from tests.conftest import Ended
from training import validation_images
from training.run_folder import RunFolder

Call = Callable[..., Ended]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_are_the_images_with_these_numbers(call: Call, finished: Path, shapes_root: Path) -> None:
    ended = call(validation_images.main, finished, "--out", "new/pictures", "--numbers", "30, 3,3,17")
    assert ended.code == 0, ended.err
    data = load(shapes_root, quiet=True)
    rows = rows_of(Path("new/pictures/images.csv"))
    assert [int(row["number"]) for row in rows] == [3, 17, 30]
    for row in rows:
        number = int(row["number"])
        with Image.open(Path("new/pictures") / row["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), data.val.images[number])
        assert row["wnid"] == data.class_ids[data.val.labels[number]]
        assert row["name"] == data.class_names[data.val.labels[number]]
    assert {path.name for path in Path("new/pictures").iterdir()} == {"images.csv", "03.png", "17.png", "30.png"}


def test_a_drawing_is_that_of_its_seed(call: Call, finished: Path) -> None:
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert call(validation_images.main, finished, "--out", out, "--count", "5", "--seed", seed).code == 0
    a, b, c = ([row["number"] for row in rows_of(Path(out, "images.csv"))] for out in "abc")
    assert a == b
    assert len(set(a)) == 5
    assert a != c
    assert call(validation_images.main, finished, "--out", "all", "--count", "1000").code == 0  # as many as there are
    assert len(rows_of(Path("all/images.csv"))) == 36


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out full", "--out full: not empty; name a new folder"),
        ("--out full/mine.txt", "--out full/mine.txt: a file, where a folder is expected"),
        ("--out new --numbers 3,36", "--numbers 3,36: 36 is no number from 0 to 35"),
        ("--out new --numbers 3,,4", "nothing is no number from 0 to 35"),
        ("--out new --numbers=-1", "-1 is no number from 0 to 35"),
        ("--out new train.seed=1", "train.seed=1: .* keeps the options it began with"),
        ("--out new data.root=elsewhere", "elsewhere"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_lost(
    call: Call, finished: Path, arguments: str, message: str
) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    ended = call(validation_images.main, finished, *arguments.split())
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert re.search(message, ended.err), ended.err
    assert Path("full/mine.txt").read_text() == "mine"
    assert not Path("new").exists()


def test_data_with_other_classes_are_refused(call: Call, finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    classes = json.loads((copy / "classes.json").read_text())
    classes["wnids"][0] = "another"
    (copy / "classes.json").write_text(json.dumps(classes))
    ended = call(validation_images.main, copy, "--out", "new")
    assert "not the data of" in ended.err
    assert not Path("new").exists()


def test_the_guesses_of_an_evaluation_have_a_line_for_each_image(call: Call, finished: Path) -> None:
    ended = call(evaluate.main, finished, "--csv", "guesses.csv", "--json", "report.json", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert ended.out.endswith("written: guesses.csv\n")
    rows, report = rows_of(Path("guesses.csv")), json.loads(Path("report.json").read_text())
    assert [int(row["number"]) for row in rows] == list(range(36))
    right = sum(row["wnid"] == row["predicted_wnid"] for row in rows)
    assert right / len(rows) == pytest.approx(report["top1"])
    assert all(1 / 12 <= float(row["probability"]) <= 1 for row in rows)
    classes = RunFolder(finished).read_classes()
    names = dict(zip(classes.class_ids, classes.class_names, strict=True))
    assert all(row["name"] == names[row["wnid"]] and row["predicted"] == names[row["predicted_wnid"]] for row in rows)
    confused = {(p["label_wnid"], p["predicted_wnid"]): p["images"] for p in report["confused"]}
    found = [(row["wnid"], row["predicted_wnid"]) for row in rows if row["wnid"] != row["predicted_wnid"]]
    assert {pair: found.count(pair) for pair in found} == confused
