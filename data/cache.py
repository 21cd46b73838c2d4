"""The cache of decoded images: uint8 pixels in .npy files, memory-mapped. A build is either complete or absent.

A build lies in <cache>/v<FORMAT>-<stamp>/. The stamp identifies the files of the data set: when one of them changes,
the name of the build changes, and the old build is no longer found. A build is written to <cache>/<name>.partial-*,
flushed to the disk and renamed, so a folder with the final name is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import files
from common.cores import available_cores
from common.documents import read_json
from common.errors import DamagedError, DataError
from common.filesystems import UNSUPPORTED, warn_once
from common.text import first_of
from data.about import SPLITS, UNSEALED, About
from data.arrays import map_npy, read_npy
from data.build import ImageFiles, fill, refusal
from data.dataset import Dataset, Listing, Split
from data.decode import cannot_write_cache
from data.form import Form

FORMAT = 2  # increase when the meaning of a build's files changes


class Build(NamedTuple):
    """A build opened for reading."""

    images: dict[str, np.ndarray]  # split -> uint8 (n, H, W, C), memory-mapped
    labels: dict[str, np.ndarray]  # split -> int32 (n,)
    hashes: dict[str, np.ndarray]  # split -> uint64 (n,), of the files; builds of earlier versions have none
    about: About


def cached_dataset(
    root: Path,
    cache: Path | None,
    stamp: str,
    list_files: Callable[[], Listing],
    jobs: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
    jpeg: bool = False,
    variant: str = "",
) -> Dataset:
    """The data set in the folder `root`, from the cache if it holds a build with this stamp, else decoded into it.

    cache: the cache folder; None: <root>/cache.  stamp: changes whenever a file of the data set changes.
    list_files: called only when the images have to be decoded.
    jobs: number of decoding processes; None: one per core.  quiet: no progress bar.
    form: what the images are brought to; builds of several forms lie beside each other.
    jpeg: all must be JPEG files. Else they may have any format that Pillow reads.
    variant: builds of several variants lie beside each other, too.

    Raises DataError, from `list_files` too.
    """
    cache = root / "cache" if cache is None else cache
    data = ImageFiles(root, list_files, form, jpeg, stamp, variant)
    build = find_build(cache, data)
    if build is None:
        build = write_build(cache, data, jobs or available_cores(), quiet)
    about = build.about
    if about.skipped and form.broken == "refuse":
        raise refusal(root, list(about.skipped))
    splits = {split: Split(build.images[split], build.labels[split], build.hashes.get(split)) for split in SPLITS}
    return Dataset(
        train=splits["train"],
        val=splits["val"],
        class_ids=about.wnids,
        class_names=about.names,
        mean=about.mean,
        std=about.std,
        fingerprint=about.fingerprint,
        notes=(*about.notes, *_skipped(about)),
    )


def _skipped(about: About) -> tuple[str, ...]:
    return (f"broken, and left out (data.broken=skip): {first_of(about.skipped, 1)}",) if about.skipped else ()


def find_build(cache: Path, data: ImageFiles) -> Build | None:
    """A build of these files that has the form that is asked for.

    It may have been made for a form that leaves the size or the channels to the images, if they have those of the form.
    """
    form = data.form
    for size in dict.fromkeys((None, form.size)):
        for channels in dict.fromkeys((None, form.channels)):
            key = data.key(replace(form, size=size, channels=channels))
            build = open_build(build_folder(cache, key.stamp), key.stamp)
            if build is not None:
                *found, found_channels = build.images["train"].shape[1:]
                if form.size in (None, tuple(found)) and form.channels in (None, found_channels):
                    return build
    return None


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
        hashes = {s: read_npy(folder / f"{s}_hashes.npy") for s in SPLITS if (folder / f"{s}_hashes.npy").exists()}
    except PermissionError as error:
        raise DataError(
            f"{error.filename or folder}: the cache cannot be read: {files.reason(error)}. "
            "Fix its permissions, or name another cache folder with data.cache=DIR."
        ) from error
    except (OSError, DamagedError):
        return None
    build = Build(images, labels, hashes, about)
    return build if _is_sound(build) else None


def _is_sound(build: Build) -> bool:
    """Whether the arrays are images and their labels, and the seal is theirs."""
    about, classes = build.about, len(build.about.wnids)
    shape = (*build.images["train"].shape[1:3], len(about.mean))
    for split in SPLITS:
        images, labels = build.images[split], build.labels[split]
        are_images = images.dtype == np.uint8 and images.shape[1:] == shape
        are_labels = labels.dtype == np.int32 and labels.shape == images.shape[:1]
        if not are_images or not are_labels or not ((labels >= 0) & (labels < classes)).all():
            return False
    for split, hashes in build.hashes.items():
        if hashes.dtype != np.uint64 or hashes.shape != build.labels[split].shape:
            return False
    return about.seal in (UNSEALED, about.sealed(build.labels, build.hashes).seal)


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


def write_build(cache: Path, data: ImageFiles, jobs: int, quiet: bool) -> Build:
    """Decode every image into a new build. On failure the cache stays as it was.

    Raises DataError where an image is broken or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with files.locked(cache / "lock", "" if quiet else f"{cache}: waiting for another process to build it") as held:
            ready = find_build(cache, data)  # another process may have built it while this one waited
            if ready is not None:
                return ready
            if held:
                _remove_stale(cache)
            with files.partial_folder(build_folder(cache, data.key(data.form).stamp)) as partial:
                key = fill(partial, data, jobs, quiet)
                folder = build_folder(cache, key.stamp)
                _move_into_place(partial, folder)
            _remove_older(cache, key.source, keep=folder)
    except OSError as error:
        raise cannot_write_cache(cache, error) from error
    ready = open_build(folder, key.stamp)
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


def _remove_older(cache: Path, source: str, keep: Path) -> None:
    """Remove earlier builds of the same data set in the same form; other data sets may share the cache folder."""
    for about in cache.glob("v*/about.json"):
        if about.parent != keep and files.PARTIAL not in about.parent.name:
            try:
                found = read_json(about, Any)  # of any format
            except (OSError, DamagedError):
                continue
            if isinstance(found, dict) and found.get("source") == source:
                shutil.rmtree(about.parent, ignore_errors=True)
