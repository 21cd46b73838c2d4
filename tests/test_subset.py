"""The first so many classes: their images, all of them, and no other."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from data.subset import first_classes
from tests.tiny_data import write_data_set
from tests.tiny_runs import random_dataset
from training.config import load_config
from training.setup import load_dataset


def test_the_first_classes_alone() -> None:
    whole = random_dataset(train=60, val=20, classes=5)
    part = first_classes(whole, 2)
    for kept, all_of_them in ((part.train, whole.train), (part.val, whole.val)):
        rows = np.flatnonzero(all_of_them.labels < 2)
        assert 0 < len(rows) < len(all_of_them.labels)
        np.testing.assert_array_equal(kept.images, all_of_them.images[rows])
        np.testing.assert_array_equal(kept.labels, all_of_them.labels[rows])
    assert (part.class_ids, part.class_names) == (whole.class_ids[:2], whole.class_names[:2])
    assert part[4:] == whole[4:]


def test_all_classes_are_the_data_set_itself() -> None:
    whole = random_dataset()
    assert first_classes(whole, None) is whole


def test_more_classes_than_there_are() -> None:
    with pytest.raises(DataError, match=r"^data\.classes=6: there are only 5 classes; choose fewer"):
        first_classes(random_dataset(classes=5), 6)


def test_classes_without_validation_images(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "tiny", val=5)
    lines = (root / "val/val_annotations.txt").read_text().splitlines(keepends=True)
    (root / "val/val_annotations.txt").write_text("".join(line for line in lines if "n02" in line))
    for path in (root / "val/images").iterdir():
        if not any(path.name in line for line in lines if "n02" in line):
            path.unlink()
    options = [f"data.root={root}", "data.workers=1"]
    assert len(load_dataset(load_config("tiny_imagenet", options), quiet=True).val.labels) == 1
    with pytest.raises(DataError, match=r"no validation images of the first 2 classes.*data\.holdout=0\.1$"):
        load_dataset(load_config("tiny_imagenet", [*options, "data.classes=2"]), quiet=True)
    held = load_config("tiny_imagenet", [*options, "data.classes=2", "data.holdout=0.25"])
    assert len(load_dataset(held, quiet=True).val.labels) == 2
