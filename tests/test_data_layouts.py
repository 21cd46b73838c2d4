"""Data sets in other forms than the original: as tutorials and file systems leave them. They are read all the same."""

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from data.dataset import Dataset
from data.scan import scan, stamp
from data.tiny_imagenet import load
from tests.tiny_data import NAMES, WNIDS, write_boxes, write_data_set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "tiny")


def read(root: Path) -> Dataset:
    return load(root, workers=1, quiet=True)


def assert_same(found: Dataset, expected: Dataset) -> None:
    for split, other in ((found.train, expected.train), (found.val, expected.val)):
        np.testing.assert_array_equal(split.images, other.images)
        np.testing.assert_array_equal(split.labels, other.labels)
    assert found[2:6] == expected[2:6]


def refused(root: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        read(root)
    for part in parts:
        assert part in str(caught.value)


# Byte-order marks.


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt", "train/n03/n03_boxes.txt"])
def test_a_byte_order_mark_is_no_part_of_a_name(root: Path, name: str) -> None:
    for wnid in WNIDS:
        write_boxes(root, wnid)
    expected = read(root)
    (root / name).write_bytes(b"\xef\xbb\xbf" + (root / name).read_bytes())
    assert_same(read(root), expected)


def test_texts_that_were_joined_have_marks_inside(root: Path) -> None:
    lines = (root / "words.txt").read_text().splitlines()
    (root / "words.txt").write_bytes(b"".join(b"\xef\xbb\xbf" + line.encode() + b"\r\n" for line in lines))
    assert read(root).class_names == NAMES


# Unicode forms.


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "käfer_é") for form in ("NFC", "NFD"))


def renamed(root: Path, on_disk: str, in_texts: str) -> None:
    """The class n01 and its files get a name with accents, in one form on the disk and in another in the texts."""
    for path in sorted(root.rglob("*n01*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("n01", on_disk)))
    for name in ("wnids.txt", "words.txt", "val/val_annotations.txt", f"train/{on_disk}/{on_disk}_boxes.txt"):
        text = (root / name).read_text(encoding="utf-8").replace("n01", in_texts)
        (root / name).write_text(text.replace("val_1", f"val_{in_texts}"), encoding="utf-8")
    (root / "val/images/val_1.JPEG").rename(root / f"val/images/val_{on_disk}.JPEG")


@pytest.mark.parametrize(("on_disk", "in_texts"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_names_in_another_unicode_form_are_the_same_names(root: Path, on_disk: str, in_texts: str) -> None:
    for wnid in WNIDS:
        write_boxes(root, wnid)
    expected = read(root)
    renamed(root, on_disk, in_texts)
    found = read(root)
    assert found.class_ids == ("n03", in_texts, "n02")
    assert_same(found._replace(class_ids=WNIDS), expected)


def test_a_name_in_both_forms_is_not_taken_silently(root: Path) -> None:
    write_boxes(root, "n01")
    renamed(root, COMPOSED, COMPOSED)
    twin = root / f"val/images/val_{DECOMPOSED}.JPEG"
    shutil.copy(root / "val/images/val_0.JPEG", twin)
    refused(root, "has no line in val_annotations.txt")
    twin.unlink()
    shutil.copytree(root / "train" / COMPOSED, root / "train" / DECOMPOSED)
    refused(root, "a class folder that wnids.txt does not list")


# Images in other folders.


def sort_val(root: Path, inner: str) -> None:
    for line in (root / "val/val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split("\t")
        folder = root / "val" / wnid / inner
        folder.mkdir(parents=True, exist_ok=True)
        (root / "val/images" / name).rename(folder / name)
    (root / "val/images").rmdir()


def flatten_train(root: Path) -> None:
    for images in (root / "train").glob("*/images"):
        for path in images.iterdir():
            path.rename(images.parent / path.name)
        images.rmdir()


@pytest.mark.parametrize("inner", ["", "images"])
def test_validation_images_in_class_folders(root: Path, inner: str) -> None:
    expected, before = read(root), stamp(scan(root))
    sort_val(root, inner)
    assert stamp(scan(root)) != before
    assert_same(read(root), expected)  # in the order of the annotations
    (root / "val/val_annotations.txt").unlink()
    found = read(root)
    assert found.val.labels.tolist() == [0, 0, 1, 1, 2]
    np.testing.assert_array_equal(found.val.images, expected.val.images[[0, 3, 1, 4, 2]])


def test_training_images_in_the_class_folder_itself(root: Path) -> None:
    for wnid in WNIDS[:2]:
        write_boxes(root, wnid)
    expected, before = read(root), stamp(scan(root))
    flatten_train(root)
    (root / "train/n01/.DS_Store").write_bytes(b"x")
    assert stamp(scan(root)) != before
    assert_same(read(root), expected)
    (root / "train/n01/n01_2.JPEG").unlink()
    refused(root, "train/n01/n01_2.JPEG: missing, but n01_boxes.txt lists it")


def test_copies_in_class_folders_do_not_count_twice(root: Path) -> None:
    expected = read(root)
    shutil.copytree(root / "val/images", root / "copy")
    sort_val(root, "")
    (root / "copy").rename(root / "val/images")
    assert_same(read(root), expected)


def test_a_half_sorted_folder_is_read_as_well(root: Path) -> None:
    expected = read(root)
    (root / "val/n03").mkdir()
    (root / "val/images/val_3.JPEG").rename(root / "val/n03/val_3.JPEG")
    assert_same(read(root), expected)


SORTED_DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "an image is missing": (
        lambda root: (root / "val/n03/val_3.JPEG").unlink(),
        ["val_3.JPEG: missing, but val_annotations.txt lists it"],
    ),
    "an image in the wrong folder": (
        lambda root: (root / "val/n03/val_3.JPEG").rename(root / "val/n01/val_3.JPEG"),
        ["val/n01/val_3.JPEG: val_annotations.txt, line 4, says that its class is n03"],
    ),
    "a file of another kind": (
        lambda root: (root / "val/n03/notes.txt").write_text("x"),
        ["val/n03/notes.txt: not a .JPEG file"],
    ),
    "a folder of no class": (
        lambda root: [
            (root / "val/val_annotations.txt").unlink(),
            shutil.copytree(root / "val/n03", root / "val/n77"),
        ],
        ["val/n77: a folder among the class folders that wnids.txt does not list"],
    ),
    "no validation images at all": (
        lambda root: [shutil.rmtree(root / "val" / wnid) for wnid in WNIDS],
        ["val/images/val_0.JPEG: missing"],
    ),
}


@pytest.mark.parametrize("case", SORTED_DAMAGES)
def test_damage_of_sorted_folders_is_named(root: Path, case: str) -> None:
    sort_val(root, "")
    damage, parts = SORTED_DAMAGES[case]
    damage(root)
    refused(root, *parts)
