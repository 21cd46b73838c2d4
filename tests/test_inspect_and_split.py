"""Looking at a folder of images before training, and dividing it: `python -m data.inspect`, `python -m data.split`."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.command import run_command
from data import inspect, split
from data.registry import SOURCES
from tests.test_image_folder import held, images_of, picture, read, saved, write_folder
from tests.tiny_data import jpeg, write_data_set

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(main: Callable, *arguments: object) -> tuple[int, str, str]:
        try:
            code = run_command(main, [str(argument) for argument in arguments])
        except SystemExit as ended:  # of argparse
            code = int(str(ended.code))
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def test_all_that_looks_wrong_is_said(tmp_path: Path, run: Run) -> None:
    root = write_folder(
        write_folder(tmp_path / "pics", {"a": 30, "狐": 3, "lonely": 1}, "train"), {"a": 2, "狐": 1}, "val"
    )
    shutil.copy(root / "train" / "a" / "0.jpg", root / "train" / "a" / "copy.jpg")
    shutil.copy(root / "train" / "a" / "1.jpg", root / "train" / "狐" / "torn.jpg")
    shutil.copy(root / "train" / "a" / "2.jpg", root / "val" / "a" / "leak.jpg")
    (root / "train" / "a" / "broken.jpg").write_bytes(jpeg(5)[:-30])
    (root / "train" / "a" / "large.png").write_bytes(saved(picture(1, (300, 400)), "PNG"))
    (root / "train" / "a" / "notes.txt").touch()
    code, told, _ = run(inspect.main, root, "--workers", 1)
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == f"{root}: image_folder, 42 images of 3 classes"
    assert [line.split() for line in lines[2:7]] == [
        ["class", "training", "validation"],
        ["a", "33", "3"],
        ["lonely", "1", "0"],
        ["狐", "4", "1"],
        ["all", "38", "4"],
    ]
    assert lines[5].index("4") == lines[4].index("1") - 1  # 狐 takes two columns
    assert "sizes     8x8 to 400x300 pixels, median 8x8" in lines
    assert "formats   40 JPEG, 1 PNG" in lines
    for line in (
        "  1 broken", "  1 class with a single training image", "    lonely", "  1 image in several classes",
        "  classes of very unequal size: 1 (lonely) to 33 (a) images", "  of these, 1 both trained on and validated on",
        "  only 4 validation images: the accuracy will depend much on chance", "  1 class without validation images",
        "    train/a/0.jpg = train/a/copy.jpg", "    train/a/1.jpg = train/狐/torn.jpg",
        "  40 images less than half as large as model.image_size=64: will be blurred",
        "  1 image more than 4 times as large as model.image_size=64: loses details",
        "  no images, and left alone: 1 .txt",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("    train/a/broken.jpg: not an intact image") for line in lines)
    assert max(map(len, lines)) <= 120


def test_nothing_is_wrong_with_good_data(tmp_path: Path, run: Run) -> None:
    root = write_folder(tmp_path / "pics", {"a": 4, "b": 4})
    code, told, _ = run(inspect.main, root, "--workers", 1, "--image-size", 8)
    assert (code, told.splitlines()[-1]) == (0, "nothing looks wrong")
    assert "size      8x8 pixels" in told
    assert not (root / ".cache").exists()


def test_a_data_set_of_the_registry_and_its_layout_are_known(tmp_path: Path, run: Run) -> None:
    root = write_data_set(tmp_path / "tiny")
    told = [run(inspect.main, *words)[1] for words in ([root], ["tiny_imagenet", "--root", root])]
    assert told[0] == told[1]
    assert told[0].startswith(f"{root}: tiny_imagenet, 17 images of 3 classes")


def test_what_is_neither_a_name_nor_a_folder(tmp_path: Path, run: Run) -> None:
    code, _, told = run(inspect.main, tmp_path / "nowhere")
    assert code == 2
    assert told.endswith(f"nowhere: no such folder, and none of the data sets {', '.join(SOURCES)}\n")


@pytest.mark.parametrize("how", [[], ["--copy"]])
def test_a_folder_is_divided_as_training_would(tmp_path: Path, run: Run, how: list[str]) -> None:
    source = write_folder(tmp_path / "pics", {"a": 50, "b": 30, "c": 1})
    shutil.copy(source / "a" / "0.jpg", source / "a" / "copy.jpg")
    (source / "a" / "deeper").mkdir()
    shutil.move(source / "a" / "1.jpg", source / "a" / "deeper" / "1.jpg")
    (source / "words.txt").write_text("a\tapple\n")
    target = tmp_path / "divided"
    code, told, _ = run(split.main, source, target, "--val", 0.2, "--test", 0.2, *how)
    assert code == 0
    assert told.startswith(f"{target}: ")
    found = {name: sorted(path for path in (target / name).rglob("*.jpg")) for name in ("train", "val", "test")}
    assert sum(map(len, found.values())) == 82
    assert all(path.is_symlink() == (not how) for paths in found.values() for path in paths)
    contents = {name: {path.read_bytes() for path in paths} for name, paths in found.items()}
    assert contents["train"].isdisjoint(contents["val"] | contents["test"])
    assert contents["val"].isdisjoint(contents["test"])
    for name in ("val", "test"):
        assert {path.relative_to(target / name).parts[0] for path in found[name]} == {"a", "b"}
        assert 6 <= len(found[name]) <= 28
    again = tmp_path / "again"
    assert run(split.main, source, again, "--val", 0.2, "--test", 0.2, *how)[0] == 0
    assert [path.relative_to(again) for path in sorted(again.rglob("*"))] == [
        path.relative_to(target) for path in sorted(target.rglob("*"))
    ]
    data = read(target)
    assert data.class_names == ("apple", "b", "c")
    assert images_of(held(source, "data.holdout=0.2")) == {image.tobytes() for image in np.asarray(data.val.images)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pics", "there"], "there: there already; name a new folder"),
        (["pics", "pics/a/inside"], "inside: lies in pics, where it would be another class"),
        (["divided", "new"], "divided: divided already: it has train/; train with data.root=divided"),
        (["nowhere", "new"], "nowhere: no such folder"),
        (["pics", "new", "--val", "0.5", "--test", "0.5"], "--val 0.5 --test 0.5: nothing would be left to train on"),
        (["pics", "new", "--val", "0"], "--val 0 --test 0: nothing to divide"),
        (["pics", "new", "--val", "1.5"], "1.5: at least 0 and below 1"),
    ],
)
def test_what_cannot_be_divided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("pics"), {"a": 3, "b": 3})
    write_folder(Path("divided"), {"a": 2, "b": 2}, "train")
    write_folder(Path("there"), {"a": 1})
    before = sorted(os.walk("."))
    code, _, err = run(split.main, *arguments)
    assert (code, told in err) == (2, True)
    assert sorted(os.walk(".")) == before
