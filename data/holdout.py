"""A slice of the training images to evaluate on in place of the validation images, so that tuning never sees those."""

from __future__ import annotations

import numpy as np

from common.errors import DataError
from data.dataset import Dataset, Split

SEED = 0x51CE  # any number: the slice is part of the data, not of a run, so that all runs are compared on the same one


def hold_out(dataset: Dataset, share: float) -> Dataset:
    """The data set with `share` of its training images, of each class alike, in place of its validation images.

    The slice is a function of the labels and of `share` alone; a smaller one lies within a larger one. Mean, standard
    deviation and fingerprint stay those of the whole. Both parts are copies in memory (1.2 GB for Tiny ImageNet, where
    a memory map needs none), made once, in the order of the file; with a share of 0 the data set is returned as it is.

    Raises DataError where a class would be left without an image in either part.
    """
    if share == 0:
        return dataset
    held = held_out_rows(dataset.train.labels, share, dataset.wnids)
    return dataset._replace(train=_rows(dataset.train, ~held), val=_rows(dataset.train, held))


def held_out_rows(labels: np.ndarray, share: float, wnids: tuple[str, ...]) -> np.ndarray:
    """Which images are held out: bool (n,), True for the nearest whole number to `share` of the images of each class.

    Like the order of an epoch it is built on the raw stream of PCG64, which NumPy promises never to change.
    """
    order = np.argsort(np.random.PCG64(np.random.SeedSequence(SEED)).random_raw(len(labels)), kind="stable")
    held = np.zeros(len(labels), dtype=bool)
    for label, wnid in enumerate(wnids):
        members = order[labels[order] == label]
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise DataError(
                f"data.holdout={share:g}: of the {len(members)} training images of class {wnid}, {count} would be held "
                "out, but it needs at least one on either side; choose another share, or 0 for no holdout"
            )
        held[members[:count]] = True
    return held


def _rows(split: Split, chosen: np.ndarray) -> Split:
    return Split(np.asarray(split.images[chosen]), split.labels[chosen])
