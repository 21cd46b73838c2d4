"""Selecting some of the classes, for quick experiments."""

from __future__ import annotations

from common.errors import DataError
from common.text import counted
from data.dataset import Dataset


def first_classes(dataset: Dataset, count: int | None) -> Dataset:
    """The data set reduced to its first `count` classes, in the order of `class_ids`; None: unchanged.

    Mean, standard deviation and fingerprint stay those of the full data set, so all of its images are decoded once,
    even for a few classes.

    Raises DataError where the data set has fewer classes.
    """
    if count is None:
        return dataset
    classes = len(dataset.class_ids)
    if count > classes:
        there = counted(classes, "class", "classes")
        raise DataError(f"data.classes={count}: there are only {there}; choose fewer, or null for all")
    return dataset._replace(
        train=dataset.train.select(dataset.train.labels < count),
        val=dataset.val.select(dataset.val.labels < count),
        class_ids=dataset.class_ids[:count],
        class_names=dataset.class_names[:count],
    )
