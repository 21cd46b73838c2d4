"""Reading the layout of Tiny ImageNet: what comes out of a good data set, and what is said of a bad one."""

import errno
import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import DataError
from data import build as building
from data.dataset import Dataset
from data.decode import decode
from data.form import Target
from data.tiny_imagenet import load
from tests.tiny_data import NAMES, WNIDS, jpeg, write_boxes, write_data_set

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "tiny")


def read(root: Path) -> Dataset:
    return load(root, workers=1, quiet=True)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_every_image_stands_under_its_label(root: Path) -> None:
    data = read(root)
    assert data.class_ids == WNIDS
    assert data.class_names == NAMES
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for row, label in enumerate(data.train.labels):
        wnid = WNIDS[label]
        want = pixels(root / "train" / wnid / "images" / f"{wnid}_{row % 4}.JPEG")
        np.testing.assert_array_equal(data.train.images[row], want)
    assert data.val.labels.tolist() == [0, 1, 2, 0, 1]
    for row in range(5):
        np.testing.assert_array_equal(data.val.images[row], pixels(root / "val" / "images" / f"val_{row}.JPEG"))


def test_arrays_are_mapped_read_only_and_of_the_promised_types(root: Path) -> None:
    data = read(root)
    for split, count in ((data.train, 12), (data.val, 5)):
        assert isinstance(split.images, np.memmap)
        assert split.images.shape == (count, 8, 8, 3)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0, 0, 0, 0] = 1


def test_mean_and_std_are_those_of_the_training_pixels(root: Path) -> None:
    data = read(root)
    scaled = np.asarray(data.train.images, np.float64) / 255
    np.testing.assert_allclose(data.mean, scaled.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.std, scaled.std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_channel_without_variation_is_not_divided_by_zero(root: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(file, "JPEG")
    for path in (root / "train").glob("*/images/*"):
        path.write_bytes(file.getvalue())
    assert read(root).std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colour_modes_become_rgb(root: Path, mode: str) -> None:
    path = root / "train" / "n01" / "images" / "n01_2.JPEG"
    path.write_bytes(jpeg(7, mode=mode))
    image = read(root).train.images[4 + 2]
    np.testing.assert_array_equal(image, pixels(path))
    if mode == "L":
        assert (image[..., 0] == image[..., 1]).all()
        assert (image[..., 0] == image[..., 2]).all()
        assert image[..., 0].std() > 0


def test_images_need_not_be_square(tmp_path: Path) -> None:
    data = read(write_data_set(tmp_path / "wide", size=(8, 12)))
    assert data.train.images.shape == (12, 8, 12, 3)


def test_hidden_files_are_no_images(root: Path) -> None:
    (root / "train" / "n01" / "images" / ".DS_Store").write_bytes(b"x")
    (root / "train" / ".git").mkdir()
    assert len(read(root).train.labels) == 12


def test_the_number_of_workers_changes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK", 3)  # several tasks, the last one of another size
    one, two = (load(root, cache=tmp_path / f"cache{n}", workers=n, quiet=True) for n in (1, 2))
    np.testing.assert_array_equal(one.train.images, two.train.images)
    np.testing.assert_array_equal(one.val.images, two.val.images)
    assert one[2:] == two[2:]


def test_the_fingerprint_follows_content_and_labels_but_not_times(root: Path, tmp_path: Path) -> None:
    first = read(root).fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("cache"))
    for path in copy.rglob("*.JPEG"):
        os.utime(path, (1, 1))
    assert read(copy).fingerprint == first
    annotations = copy / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("val_4.JPEG\tn01", "val_4.JPEG\tn02"))
    relabelled = read(copy).fingerprint
    assert relabelled != first
    (copy / "val" / "images" / "val_0.JPEG").write_bytes(jpeg(5))
    assert read(copy).fingerprint not in (first, relabelled)


def test_nothing_that_a_worker_imports_imports_jax() -> None:
    modules = "data.dataset, data.tiny_imagenet, data.shapes, data.download, data.loader, data.workers, data.registry"
    code = f"import sys, {modules}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


# Bad input: one message that names the file and says what to do.


def expect(root: Path, *parts: str) -> None:
    """Loading fails with a message that contains all `parts`."""
    with pytest.raises(DataError) as caught:
        read(root)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_data_set_says_how_to_get_it(tmp_path: Path) -> None:
    root = tmp_path / "datasets" / "tiny-imagenet-200"
    command = f"python -m data.download tiny_imagenet --to {tmp_path / 'datasets'}"
    expect(root, str(root), command, "python train.py demo")
    root.mkdir(parents=True)
    expect(root, str(root), "wnids.txt", command)


def test_the_parent_folder_points_to_the_data_set(tmp_path: Path) -> None:
    write_data_set(tmp_path / "tiny-imagenet-200")
    expect(tmp_path, f"use {tmp_path / 'tiny-imagenet-200'}")


Damage = Callable[[Path], object]
AGAIN = "download"
DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "no words.txt": (lambda root: (root / "words.txt").unlink(), ["words.txt: missing", AGAIN]),
    "no train folder": (lambda root: shutil.rmtree(root / "train"), ["train: missing", AGAIN]),
    "no val annotations": (lambda root: (root / "val/val_annotations.txt").unlink(), ["val_annotations.txt", AGAIN]),
    "no val images": (lambda root: shutil.rmtree(root / "val/images"), ["val/images/val_0.JPEG: missing", AGAIN]),
    "a class folder absent": (lambda root: shutil.rmtree(root / "train/n01"), ["train/n01", "has no folder", AGAIN]),
    "a class without images folder": (
        lambda root: shutil.rmtree(root / "train/n01/images"),
        ["train/n01/images: no images", AGAIN],
    ),
    "an images folder empty": (
        lambda root: [path.unlink() for path in (root / "train/n02/images").iterdir()],
        ["train/n02/images: no images", AGAIN],
    ),
    "a class folder too many": (lambda root: (root / "train/n77").mkdir(), ["train/n77", "move it away"]),
    "an empty wnids.txt": (lambda root: (root / "wnids.txt").write_text("\n"), ["wnids.txt: lists no classes"]),
    "a class listed twice": (
        lambda root: (root / "wnids.txt").write_text("n03\nn01\nn02\nn01\n"),
        ["wnids.txt: lists n01 twice", "remove"],
    ),
    "a class without name": (
        lambda root: (root / "words.txt").write_text("n03\tkite\nn01\tgoldfish\n"),
        ["words.txt: no name for the class n02", "add"],
    ),
    "words.txt of another encoding": (
        lambda root: (root / "words.txt").write_bytes(b"n03\tkite\xff\n"),
        ["words.txt: not a text file in UTF-8"],
    ),
    "a val image missing": (
        lambda root: (root / "val/images/val_3.JPEG").unlink(),
        ["val/images/val_3.JPEG: missing", AGAIN],
    ),
    "a val image of an unknown class": (
        lambda root: append(root / "val/val_annotations.txt", "val_9.JPEG\tn55\t0\t0\t1\t1\n"),
        ["val_annotations.txt, line 6", "val_9.JPEG", "'n55'", "wnids.txt"],
    ),
    "a val image annotated twice": (
        lambda root: append(root / "val/val_annotations.txt", "val_0.JPEG\tn01\t0\t0\t1\t1\n"),
        ["val_annotations.txt, line 6", "val_0.JPEG", "twice"],
    ),
    "a val line without class": (
        lambda root: append(root / "val/val_annotations.txt", "val_9.JPEG\n"),
        ["val_annotations.txt, line 6", "val_9.JPEG"],
    ),
    "a val image without annotation": (
        lambda root: (root / "val/images/val_8.JPEG").write_bytes(jpeg(1)),
        ["val/images/val_8.JPEG: has no line in val_annotations.txt"],
    ),
    "annotations without a line": (
        lambda root: (root / "val/val_annotations.txt").write_text(""),
        ["val_annotations.txt: lists no images"],
    ),
    "a file of another kind": (
        lambda root: (root / "train/n01/images/notes.txt").write_text("x"),
        ["train/n01/images/notes.txt: not a .JPEG file", "Move it away"],
    ),
    "a link to nowhere": (
        lambda root: (root / "train/n01/images/n01_9.JPEG").symlink_to(root / "gone"),
        ["train/n01/images/n01_9.JPEG: cannot be read"],
    ),
    "a corrupt image": (
        lambda root: (root / "train/n02/images/n02_3.JPEG").write_bytes(b"nonsense"),
        ["train/n02/images/n02_3.JPEG: not an intact JPEG", "Replace it"],
    ),
    "a corrupt first image": (
        lambda root: (root / "train/n03/images/n03_0.JPEG").write_bytes(b"nonsense"),
        ["train/n03/images/n03_0.JPEG: not a", "Replace it"],
    ),
    "an empty image": (
        lambda root: (root / "val/images/val_2.JPEG").write_bytes(b""),
        ["val/images/val_2.JPEG: not an intact JPEG"],
    ),
    "a PNG under a false name": (
        lambda root: Image.new("RGB", (8, 8)).save(root / "val/images/val_2.JPEG", "PNG"),
        ["val/images/val_2.JPEG: not an intact JPEG"],
    ),
    "images of different sizes": (
        lambda root: (root / "val/images/val_2.JPEG").write_bytes(jpeg(1, (8, 16))),
        ["val/images/val_2.JPEG: 16x8 pixels", "train/n03/images/n03_0.JPEG has 8x8", "Resize"],
    ),
}


def test_a_source_that_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError) as caught:
            read(root)
    assert str(root) in str(caught.value)
    assert "cannot be read: Permission denied" in str(caught.value)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_named(root: Path, case: str) -> None:
    damage, parts = DAMAGES[case]
    damage(root)
    expect(root, str(root), *parts)
    leftovers = (
        [path for path in (root / "cache").glob("*") if path.name != "lock"] if (root / "cache").exists() else []
    )
    assert leftovers == []


def test_a_truncated_image_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    whole, target = jpeg(3, (16, 16)), Target((16, 16), same_as="first.JPEG", jpeg=True)
    start = whole.rfind(b"\xff\xda")  # the compressed pixels follow; a cut before is covered by the corrupt images
    assert whole.endswith(b"\xff\xd9")
    for cut in range(start, len(whole) - 1):
        for damaged in (whole[:cut], whole[:cut] + bytes(len(whole) - cut)):  # a broken copy can end in zeros
            with pytest.raises(DataError, match=r"x\.JPEG: not an intact JPEG"):
                decode(damaged, tmp_path / "x.JPEG", target)
    for accepted in (whole, whole + b"appended by a camera"):
        assert decode(accepted, tmp_path / "x.JPEG", target)[0].shape == (16, 16, 3)


def test_damage_is_named_from_a_worker_process_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "CHUNK", 3)
    (root / "val" / "images" / "val_2.JPEG").write_bytes(jpeg(1)[:-40])
    with pytest.raises(DataError, match=r"val_2\.JPEG: not an intact JPEG"):
        load(root, workers=2, quiet=True)


def test_a_boxes_file_says_which_images_must_be_there(root: Path) -> None:
    for wnid in WNIDS:
        write_boxes(root, wnid)
    for index in (1, 3):
        (root / "train" / "n02" / "images" / f"n02_{index}.JPEG").unlink()
    expect(root, "train/n02/images/n02_1.JPEG, and 1 more: missing", "n02_boxes.txt lists it", AGAIN)


def test_without_boxes_files_classes_of_very_unequal_size_are_warned_of(root: Path) -> None:
    (root / "train" / "n02" / "images" / "n02_1.JPEG").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(root).train.labels) == 11  # 3 of 4 is no reason
    (root / "train" / "n02" / "images" / "n02_2.JPEG").unlink()
    with pytest.warns(UserWarning, match="very unequal size: n02 has 2 images, n0. has 4"):
        assert len(read(root).train.labels) == 10
    for wnid in WNIDS:
        write_boxes(root, wnid)
    shutil.rmtree(root / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the lists vouch for it
        read(root)
