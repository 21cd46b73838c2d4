"""The first so many classes: their images, all of them, and no other."""

import numpy as np
import pytest

from common.errors import DataError
from data.subset import first_classes
from tests.tiny_runs import random_dataset


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
