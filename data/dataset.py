"""The types that every data set shares: the files it consists of, and the arrays that training reads.

Shapes: n images of H x W pixels with 1 channel (grey) or 3 (RGB); C classes. A label is the position of its class in
`class_ids`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data.rows import Rows


class Listing(NamedTuple):
    """Every image file of a data set, in a fixed order, with its label. The fingerprint depends on the field order."""

    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    train: list[str]  # paths relative to the folder of the data set
    train_labels: list[int]
    val: list[str]
    val_labels: list[int]


class Split(NamedTuple):
    """The images of one split and their labels."""

    images: np.ndarray | Rows  # uint8 (n, H, W, 1 or 3): in memory, a read-only memory map, or some rows of one
    labels: np.ndarray  # int32 (n,), each in 0..C-1
    hashes: np.ndarray | None = None  # uint64 (n,), of the files that the images are from, where that is known

    def select(self, chosen: np.ndarray) -> Split:
        """Some of the images, in the same order: `chosen` is bool (n,). Those of a memory map stay on the disk."""
        rows = np.flatnonzero(chosen)
        on_disk = isinstance(self.images, (np.memmap, Rows))
        images = Rows(self.images, rows) if on_disk else self.images[rows]
        return Split(images, self.labels[rows], None if self.hashes is None else self.hashes[rows])


class Dataset(NamedTuple):
    """A loaded data set.

    Attributes:
        train, val: the images to train on and to evaluate on; all of the same size and channels.
        class_ids: C unique identifiers, such as the WordNet ids of Tiny ImageNet or the names of class folders.
        class_names: C names for people, in the order of `class_ids`.
        mean, std: per channel, of all training pixels scaled to 0..1. `std` is 1 for a constant channel.
        fingerprint: SHA-256, in hexadecimal, of the class ids, the file names, their labels and the bytes of every
            image file, or the unpacked bytes where one file holds all images; the same on every machine, whatever the
            modification times. Selecting classes or holding out training images leaves `mean`, `std` and `fingerprint`
            unchanged.
    """

    train: Split
    val: Split
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    held_out: float = 0.0
