"""Tiny ImageNet, or any data set in its folder layout, as arrays mapped into memory."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from common.cores import available_cores
from data import cache as caching
from data import layout
from data.dataset import Dataset, Split


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
        build = caching.build(folder, cache_folder, stamp, listed, workers or available_cores(), quiet)
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
