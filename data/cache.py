"""The cache of decoded images: uint8 pixels in .npy files, memory-mapped. A build is either complete or absent.

A build lies in <cache>/v<FORMAT>-<stamp>/. The stamp identifies the files of the data set: when one of them changes,
the name of the build changes, and the old build is no longer found. A build is written to <cache>/<name>.partial-*,
flushed to the disk and renamed, so a folder with the final name is complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from common import files
from common.cores import available_cores
from common.documents import read_json
from common.errors import DamagedError, DataError
from common.filesystems import UNSUPPORTED, warn_once
from common.progress import progress_bar
from data import workers
from data.arrays import map_npy, read_npy
from data.dataset import Dataset, Listing, Split
from data.decode import cannot_write_cache, image_size
from data.statistics import mean_and_std

FORMAT = 2  # increase when the meaning of a build's files changes
CHUNK = 250  # images per task; fixed, so that sums and hashes do not depend on the number of workers
SPLITS = ("train", "val")
UNSEALED = "none"
Colour = tuple[float, float, float]  # a number for each channel


@dataclass(frozen=True)
class About:
    """What about.json holds."""

    stamp: str
    source: str  # the folder of the data set
    fingerprint: str
    wnids: tuple[str, ...]
    names: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seal: str = UNSEALED  # of the fields above and of the labels; builds of earlier versions have none

    def __post_init__(self) -> None:
        """Raises ValueError for what no data set can have."""
        if not 0 < len(set(self.wnids)) == len(self.wnids) == len(self.names):
            raise ValueError("its classes have no names, or the same identifiers")
        if not all(0 <= mean <= 1 for mean in self.mean) or not all(0 < std <= 1 for std in self.std):
            raise ValueError("its mean or standard deviation is not that of pixels from 0 to 1")

    def sealed(self, labels: Mapping[str, np.ndarray]) -> About:
        """The same with a seal: a hash of everything but the pixels, which are too many to be read at each start."""
        content = [dataclasses.asdict(dataclasses.replace(self, seal="")), *(labels[s].tolist() for s in SPLITS)]
        return dataclasses.replace(self, seal=hashlib.sha256(json.dumps(content).encode()).hexdigest())


class Build(NamedTuple):
    """A build opened for reading."""

    images: dict[str, np.ndarray]  # split -> uint8 (n, H, W, 3), memory-mapped
    labels: dict[str, np.ndarray]  # split -> int32 (n,)
    about: About


def cached_dataset(
    root: Path,
    cache: Path | None,
    stamp: str,
    list_files: Callable[[], Listing],
    jobs: int | None = None,
    quiet: bool = False,
) -> Dataset:
    """The data set in the folder `root`, from the cache if it holds a build with this stamp, else decoded into it.

    cache: the cache folder; None: <root>/cache.  stamp: changes whenever a file of the data set changes.
    list_files: called only when the images have to be decoded. All must be JPEG files of the same size.
    jobs: number of decoding processes; None: one per core.  quiet: no progress bar.

    Raises DataError, from `list_files` too.
    """
    cache = root / "cache" if cache is None else cache
    build = open_build(build_folder(cache, stamp), stamp)
    if build is None:
        build = write_build(root, cache, stamp, list_files(), jobs or available_cores(), quiet)
    about = build.about
    return Dataset(
        train=Split(build.images["train"], build.labels["train"]),
        val=Split(build.images["val"], build.labels["val"]),
        class_ids=about.wnids,
        class_names=about.names,
        mean=about.mean,
        std=about.std,
        fingerprint=about.fingerprint,
    )


def build_folder(cache: Path, stamp: str) -> Path:
    return cache / f"v{FORMAT}-{stamp[:20]}"


def open_build(folder: Path, stamp: str) -> Build | None:
    """The build in `folder`; None if it is missing or damaged, and has to be written again.

    Raises DataError where it may not be read.
    """
    try:
        about: About = read_json(folder / "about.json", About)
        if about.stamp != stamp:
            return None
        images = {split: _mapped(folder / f"{split}_images.npy") for split in SPLITS}
        labels = {split: read_npy(folder / f"{split}_labels.npy") for split in SPLITS}
    except PermissionError as error:
        raise DataError(
            f"{error.filename or folder}: the cache cannot be read: {files.reason(error)}. "
            "Fix its permissions, or name another cache folder with data.cache=DIR."
        ) from error
    except (OSError, DamagedError):
        return None
    build = Build(images, labels, about)
    return build if _is_sound(build) else None


def _is_sound(build: Build) -> bool:
    """Whether the arrays are images and their labels, and the seal is theirs."""
    about, classes = build.about, len(build.about.wnids)
    for split in SPLITS:
        images, labels = build.images[split], build.labels[split]
        are_images = images.dtype == np.uint8 and images.shape[1:] == (*build.images["train"].shape[1:3], 3)
        are_labels = labels.dtype == np.int32 and labels.shape == images.shape[:1]
        if not are_images or not are_labels or not ((labels >= 0) & (labels < classes)).all():
            return False
    return about.seal in (UNSEALED, about.sealed(build.labels).seal)


def _mapped(path: Path) -> np.ndarray:
    """A .npy file as a read-only memory map, or in memory where the file system has no maps."""
    try:
        mapped = map_npy(path)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        mapped = read_npy(path)  # raises the same error if it was not about the map
        mapped.flags.writeable = False
        warn_once(
            path.parent, "map files into memory",
            "the images are read into memory as a whole; data.cache=DIR names another folder",
        )  # fmt: skip
    return mapped


def write_build(root: Path, cache: Path, stamp: str, listing: Listing, jobs: int, quiet: bool) -> Build:
    """Decode every image of `listing` into a new build. On failure the cache stays as it was.

    Raises DataError where an image is damaged or the cache cannot be written.
    """
    folder = build_folder(cache, stamp)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with files.locked(cache / "lock", "" if quiet else f"{cache}: waiting for another process to build it") as held:
            ready = open_build(folder, stamp)  # another process may have built it while this one waited
            if ready is not None:
                return ready
            if held:
                _remove_stale(cache)
            with files.partial_folder(folder) as partial:
                _fill(partial, root, stamp, listing, jobs, quiet)
                _move_into_place(partial, folder)
            _remove_older(cache, root, keep=folder)
    except OSError as error:
        raise cannot_write_cache(cache, error) from error
    ready = open_build(folder, stamp)
    if ready is None:
        raise DataError(f"{folder}: the cache was built but cannot be read back. Remove the folder and try again.")
    return ready


def _remove_stale(cache: Path) -> None:
    """Remove unfinished builds of dead processes. Only under the lock."""
    for folder in cache.glob(f"v*{files.PARTIAL}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(partial: Path, folder: Path) -> None:
    if folder.exists():  # damaged, or open_build would have returned it
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # Where locks are not available, another process may have finished first. Its build has the same content.
    files.fsync_path(folder.parent)


def _remove_older(cache: Path, root: Path, keep: Path) -> None:
    """Remove earlier builds of the same data set; other data sets may share the cache folder."""
    for about in cache.glob("v*/about.json"):
        if about.parent != keep and files.PARTIAL not in about.parent.name:
            try:
                found = read_json(about, Any)  # of any format
            except (OSError, DamagedError):
                continue
            if isinstance(found, dict) and found.get("source") == str(root.resolve()):
                shutil.rmtree(about.parent, ignore_errors=True)


def _fill(folder: Path, root: Path, stamp: str, listing: Listing, jobs: int, quiet: bool) -> None:
    size = image_size(root / listing.train[0])
    tasks = _allocate_split(folder, "train", listing.train, listing.train_labels, root, size, listing.train[0])
    train_tasks = len(tasks)
    tasks += _allocate_split(folder, "val", listing.val, listing.val_labels, root, size, listing.train[0])
    with progress_bar(len(listing.train) + len(listing.val), "Decoding", " images", quiet) as bar:
        results = workers.run(
            "data.decode:decode_chunk", tasks, jobs, lambda index: bar.update(len(tasks[index]["paths"]))
        )
    train = results[:train_tasks]
    mean, std = mean_and_std(
        sum(result["pixels"] for result in train),
        [sum(channel) for channel in zip(*(result["sums"] for result in train), strict=True)],
        [sum(channel) for channel in zip(*(result["squares"] for result in train), strict=True)],
    )
    about = About(
        stamp=stamp,
        source=str(root.resolve()),
        fingerprint=_fingerprint(listing, results),
        wnids=tuple(listing.class_ids),
        names=tuple(listing.class_names),
        mean=cast(Colour, mean),
        std=cast(Colour, std),
    ).sealed({"train": np.asarray(listing.train_labels), "val": np.asarray(listing.val_labels)})
    (folder / "about.json").write_text(json.dumps(dataclasses.asdict(about), indent=1), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        files.fsync_path(path)


def _allocate_split(
    folder: Path, split: str, paths: list[str], labels: list[int], root: Path, size: tuple[int, int], first_file: str
) -> list[dict[str, Any]]:
    """Write the labels, allocate the file for the pixels, and return the tasks of the workers that fill it."""
    np.save(folder / f"{split}_labels.npy", np.asarray(labels, np.int32))
    output = folder / f"{split}_images.npy"
    start = _allocate(output, (len(paths), *size, 3))
    common = {"root": str(root), "cache": str(folder.parent), "output": str(output)}
    return [
        {
            **common,
            "size": size,
            "first_file": first_file,
            "paths": paths[first : first + CHUNK],
            "offset": start + first * math.prod(size) * 3,
        }
        for first in range(0, len(paths), CHUNK)
    ]


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Write the .npy header and allocate the disk space; returns the offset of the first pixel.

    A full disk is then noticed before the work, not in the middle of it.
    """
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.flush()
        start = file.tell()
        file.truncate(start + math.prod(shape))
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, start + math.prod(shape))
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
    return start


def _fingerprint(listing: Listing, results: list[dict[str, Any]]) -> str:
    """See Dataset.fingerprint: a hash of the listing without the class names, and of every file."""
    digest = hashlib.sha256(json.dumps(listing._replace(class_names=())).encode())
    for result in results:
        digest.update(result["sha256"].encode())
    return digest.hexdigest()
