"""A part of the classes, for experiments that are to be quick."""

from __future__ import annotations

from common.errors import DataError
from data.dataset import Dataset, Split


def first_classes(dataset: Dataset, count: int | None) -> Dataset:
    """The data set with its first `count` classes alone, in the order of wnids.txt; None: as it is.

    Mean, standard deviation and fingerprint stay those of the whole. What is kept is a copy in memory.

    Raises DataError where there are fewer than `count`.
    """
    if count is None:
        return dataset
    if count > len(dataset.wnids):
        raise DataError(f"data.classes={count}: there are {len(dataset.wnids)}; choose fewer, or null for all")
    return dataset._replace(
        train=_below(dataset.train, count),
        val=_below(dataset.val, count),
        wnids=dataset.wnids[:count],
        names=dataset.names[:count],
    )


def _below(split: Split, count: int) -> Split:
    chosen = split.labels < count
    return Split(split.images[chosen], split.labels[chosen])
