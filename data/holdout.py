"""Holding out training images for validation, so that tuning never uses the official validation images.

Where a data set is a folder that grows, the content of each file decides, by its hash: an image stays on its side when
others are added, and when it is renamed, and so are all copies of it. The share is then met on average only.
"""

from __future__ import annotations

import numpy as np

from common.errors import DataError
from common.text import counted, first_of
from data.dataset import Dataset

SEED = 0x51CE  # fixed, not the seed of a run: all runs are compared on the same images
SHOWN = 3  # classes that a note names


def hold_out(dataset: Dataset, share: float, by_content: bool = False) -> Dataset:
    """The data set with `val` replaced by a fraction `share` of the training images, which `train` then lacks.

    The same fraction is taken of each class. The selection depends on the labels and on `share` only, or with
    `by_content` on the files. A smaller one is contained in a larger one. Mean, standard deviation and fingerprint stay
    those of the full data set, and both parts keep the original order. With a share of 0 the data set is returned
    unchanged.

    Raises DataError where a class would have no image in one of the parts; with `by_content`, where none has one in
    `val`.
    """
    if share == 0:
        return dataset
    labels, hashes = dataset.train.labels, dataset.train.hashes
    if by_content and hashes is not None:
        held = held_out_by_content(labels, hashes, share, len(dataset.class_ids))
        notes = dataset.notes + _not_validated(labels, held, dataset)
    else:
        held, notes = held_out_rows(labels, share, dataset.class_ids), dataset.notes
    if not held.any():
        raise DataError(
            f"data.holdout={share:g}: there would be no validation image, as no class has an image to spare; add some"
        )
    return dataset._replace(
        train=dataset.train.select(~held), val=dataset.train.select(held), notes=notes, held_out=share
    )


def held_out_by_content(labels: np.ndarray, hashes: np.ndarray, share: float, classes: int) -> np.ndarray:
    """Which images are held out: labels (n,), hashes uint64 (n,) of their files -> bool (n,).

    Those whose hash is below `share` of all hashes. A class of which all would be held out keeps its highest one. A
    class without any gets the lowest one that leaves it, and any other class with a copy of it, something to train on.
    """
    held = hashes < np.uint64(min(int(share * 2.0**64), 2**64 - 1))
    for label in range(classes):
        own = hashes[labels == label]
        if len(own) and held[labels == label].all():
            held &= hashes != own.max()
    for label in range(classes):
        members = labels == label
        if not held[members].any():
            for lowest in np.unique(hashes[members]):
                more = held | (hashes == lowest)
                if all(not more[labels == other].all() for other in np.unique(labels[hashes == lowest])):
                    held = more
                    break
    return held


def _not_validated(labels: np.ndarray, held: np.ndarray, dataset: Dataset) -> tuple[str, ...]:
    """A line about classes that have no image to be validated on, as they have a single one, or copies of it."""
    validated = np.bincount(labels[held], minlength=len(dataset.class_ids))
    without = [name for name, count in zip(dataset.class_names, validated, strict=True) if not count]
    if not without:
        return ()
    one = len(without) == 1
    return (f"{'class' if one else 'classes'} without an image to spare for validation: {first_of(without, SHOWN)}",)


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
