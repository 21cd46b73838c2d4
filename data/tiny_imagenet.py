"""Tiny ImageNet, or any data set in its folder layout, as arrays mapped into memory."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import cache as caching
from data import files, layout


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


def load(
    root: str | PathLike[str], cache: str | PathLike[str] | None = None, workers: int | None = None, quiet: bool = False
) -> Dataset:
    """Open the data set in the folder `root`, decoding it into the cache folder (<root>/cache) when that is needed.

    It is needed at the first call and after any image or text file of the source changed. `workers` is the number of
    processes that decode, as many as there are cores by default; `quiet` turns the progress bar off.

    Raises DataError, with a message that says what to do, where the data set is missing, incomplete or damaged, or the
    cache cannot be written.
    """
    folder = Path(root)
    cache_folder = Path(cache) if cache is not None else folder / "cache"
    found = layout.scan(folder)
    stamp = layout.stamp(found)
    build = caching.open_build(caching.build_folder(cache_folder, stamp), stamp)
    if build is None:
        listed = layout.listing(found)
        build = caching.build(folder, cache_folder, stamp, listed, workers or files.default_workers(), quiet)
    about = build.about
    return Dataset(
        train=Split(build.images["train"], build.labels["train"]),
        val=Split(build.images["val"], build.labels["val"]),
        wnids=tuple(about["wnids"]),
        names=tuple(about["names"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        fingerprint=about["fingerprint"],
    )
