"""What every data set is, once it is loaded: images and labels in two splits, and what is known of the classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    images: np.ndarray  # uint8 (n, H, W, 3), a read-only memory map: pages come from the disk when touched
    labels: np.ndarray  # int32 (n,), positions in wnids


class Dataset(NamedTuple):
    train: Split
    val: Split
    wnids: tuple[str, ...]  # WordNet ids, in the order of wnids.txt
    names: tuple[str, ...]  # human names, in the same order
    mean: tuple[float, float, float]  # per channel, of the training pixels in 0..1
    std: tuple[float, float, float]  # likewise; 1 for a channel without variation
    fingerprint: str  # hash of the classes, the labels and every byte of every image; the same on every machine
