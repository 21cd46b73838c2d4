"""Holding out training images for validation, so that tuning never uses the official validation images."""

from __future__ import annotations

import numpy as np

from common.errors import DataError
from common.text import counted
from data.dataset import Dataset, Split

SEED = 0x51CE  # fixed, not the seed of a run: all runs are compared on the same images


def hold_out(dataset: Dataset, share: float) -> Dataset:
    """The data set with `val` replaced by a fraction `share` of the training images, which `train` then lacks.

    The same fraction is taken of each class. The selection depends on the labels and on `share` only, and a smaller
    one is contained in a larger one. Mean, standard deviation and fingerprint stay those of the full data set. Both
    parts are copies in memory (1.2 GB for Tiny ImageNet, where the memory map needs none), in the original order. With
    a share of 0 the data set is returned unchanged.

    Raises DataError where a class would have no image in one of the parts.
    """
    if share == 0:
        return dataset
    held = held_out_rows(dataset.train.labels, share, dataset.class_ids)
    return dataset._replace(train=_select(dataset.train, ~held), val=_select(dataset.train, held))


def held_out_rows(labels: np.ndarray, share: float, class_ids: tuple[str, ...]) -> np.ndarray:
    """Which images are held out: labels (n,) -> bool (n,). In each class, `share` of the images, rounded.

    It uses the raw stream of PCG64, which NumPy guarantees never to change.
    """
    order = np.argsort(np.random.PCG64(np.random.SeedSequence(SEED)).random_raw(len(labels)), kind="stable")
    held = np.zeros(len(labels), dtype=bool)
    for label, class_id in enumerate(class_ids):
        members = order[labels[order] == label]
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise DataError(
                f"data.holdout={share:g}: of the {counted(len(members), 'training image')} of class {class_id}, "
                f"{count} would be held out, but both parts need at least one; choose another share, or 0 for no "
                "holdout"
            )
        held[members[:count]] = True
    return held


def _select(split: Split, chosen: np.ndarray) -> Split:
    return Split(np.asarray(split.images[chosen]), split.labels[chosen])
