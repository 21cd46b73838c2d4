"""Selecting some of the classes, for quick experiments."""

from __future__ import annotations

from common.errors import DataError
from data.dataset import Dataset, Split


def first_classes(dataset: Dataset, count: int | None) -> Dataset:
    """The data set reduced to its first `count` classes, in the order of `class_ids`; None: unchanged.

    Mean, standard deviation and fingerprint stay those of the full data set, for which all of its images have to be
    decoded once. The selected images are copied to memory.

    Raises DataError where the data set has fewer classes.
    """
    if count is None:
        return dataset
    classes = len(dataset.class_ids)
    if count > classes:
        raise DataError(f"data.classes={count}: there are only {classes} classes; choose fewer, or null for all")
    return dataset._replace(
        train=_with_labels_below(dataset.train, count),
        val=_with_labels_below(dataset.val, count),
        class_ids=dataset.class_ids[:count],
        class_names=dataset.class_names[:count],
    )


def _with_labels_below(split: Split, count: int) -> Split:
    chosen = split.labels < count
    return Split(split.images[chosen], split.labels[chosen])
