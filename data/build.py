"""Filling a build of the cache: every image of a data set, decoded by worker processes into .npy files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import files
from common.errors import DataError
from common.filesystems import UNSUPPORTED
from common.progress import progress_bar
from common.text import counted, first_of
from data import workers
from data.about import SPLITS, About
from data.arrays import map_npy
from data.dataset import Listing
from data.decode import BrokenImageError, image_size
from data.form import Form, Target
from data.statistics import mean_and_std

CHUNK = 250  # images per task; fixed, so that sums and hashes do not depend on the number of workers
SHOWN = 3  # broken images that a message names


class Key(NamedTuple):
    """What a build is of."""

    stamp: str  # changes whenever a file of the data set does; of each form another one
    source: str  # stays when they change: a build with the same one is an older one


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a data set, and what becomes of them; see `data.cache.cached_dataset`."""

    root: Path
    list_files: Callable[[], Listing]
    form: Form
    jpeg: bool
    stamp: str
    variant: str = ""

    @cached_property
    def listing(self) -> Listing:
        return self.list_files()

    def key(self, form: Form) -> Key:
        """That of a build in this form. Of images as they are, it is the one of builds before there were forms."""
        stamp, source = self.stamp, str(self.root.resolve())
        if form.size is not None or form.channels is not None:
            words = f"{form.size} {form.channels} {form.resize}"
            stamp, source = hashlib.sha256(f"{stamp} {words}".encode()).hexdigest(), f"{source} {words}"
        return Key(stamp, f"{source} {self.variant}" if self.variant else source)


def fill(folder: Path, data: ImageFiles, jobs: int, quiet: bool) -> Key:
    """Decode all images into the .npy files of `folder`, and write its about.json.

    Returns what the build is of. If no image had to be resized, or all had the channels that were asked for, that is
    the form which leaves these to the images.

    Raises DataError where an image is broken and may not be skipped, and where a file cannot be read or written.
    """
    listing, (target, own_channels, notes) = data.listing, settle(data, jobs, quiet)
    tasks = {split: list(_tasks(folder, split, data, target)) for split in SPLITS}
    flat = [task for split in SPLITS for task in tasks[split]]
    with progress_bar(len(listing.train) + len(listing.val), "Decoding", " images", quiet) as bar:
        found = workers.run("data.decode:decode_chunk", flat, jobs, lambda index: bar.update(len(flat[index]["paths"])))
    results = {"train": found[: len(tasks["train"])], "val": found[len(tasks["train"]) :]}
    broken = {split: list(_broken(tasks[split], results[split])) for split in SPLITS}
    skipped = [told for split in SPLITS for _, told in broken[split]]
    if skipped and data.form.broken == "refuse":
        raise refusal(data.root, skipped)
    labels, hashes = {}, {}
    for split, of_all in (("train", listing.train_labels), ("val", listing.val_labels)):
        whole = np.ones(len(of_all), bool)
        whole[[number for number, _ in broken[split]]] = False
        if not whole.all():
            _drop_rows(folder / f"{split}_images.npy", whole)
        labels[split] = np.asarray(of_all, np.int32)[whole]
        hashes[split] = _hashes(results[split])[whole]
        np.save(folder / f"{split}_labels.npy", labels[split])
        np.save(folder / f"{split}_hashes.npy", hashes[split])
    _require_images(data, labels["train"], skipped)
    sums, squares = (np.sum([result[key] for result in results["train"]], axis=0) for key in ("sums", "squares"))
    mean, std = mean_and_std(sum(result["pixels"] for result in results["train"]), sums.tolist(), squares.tolist())
    resized = any(result["resized"] for split in SPLITS for result in results[split])
    key = data.key(
        replace(
            data.form,
            size=data.form.size if resized else None,
            channels=None if target.channels == own_channels else data.form.channels,
        )
    )
    about = About(
        stamp=key.stamp,
        source=key.source,
        fingerprint=_fingerprint(listing, found),
        wnids=tuple(listing.class_ids),
        names=tuple(listing.class_names),
        mean=mean,
        std=std,
        skipped=tuple(skipped),
        notes=notes,
    ).sealed(labels, hashes)
    (folder / "about.json").write_text(json.dumps(dataclasses.asdict(about), indent=1), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        files.fsync_path(path)
    return key


def settle(data: ImageFiles, jobs: int, quiet: bool) -> tuple[Target, int, tuple[str, ...]]:
    """What all images are brought to, from the images where the form does not say; the channels that they have; and
    what a user should know of it.

    Raises DataError where they have several sizes, and nothing says what they are brought to.
    """
    form, paths = data.form, [*data.listing.train, *data.listing.val]
    if data.jpeg:
        size, same_as = (form.size, "") if form.size else _first_size(data)
        return Target(size, form.channels or 3, form.resize, same_as, jpeg=True), 3, ()
    seen = {path: found for path, found in zip(paths, look(data.root, paths, jobs, quiet), strict=True) if found}
    if not seen:
        raise DataError(f"{data.root}: none of {counted(len(paths), 'image')} can be opened, such as {paths[0]}.")
    grey = sum(is_grey for *_, is_grey in seen.values())
    own_channels = 1 if grey == len(seen) else 3
    channels = form.channels or own_channels
    notes: tuple[str, ...] = ()
    if channels == 3 and grey:
        notes = (f"{counted(grey, 'grey image')} of {len(paths):,}, read as three equal channels",)
    elif channels == 1 and grey < len(seen):
        notes = (f"{counted(len(seen) - grey, 'image')} in colour of {len(paths):,}, read as grey",)
    same_as = "" if form.size else next(iter(seen))
    height, width = form.size or seen[same_as][:2]
    other = next((path for path, found in seen.items() if same_as and found[:2] != (height, width)), None)
    if other is not None:
        sizes, (H, W, _) = {found[:2] for found in seen.values()}, seen[other]
        raise DataError(
            f"{data.root}: images of {len(sizes):,} sizes ({same_as} has {width}x{height} pixels, {other} {W}x{H}): "
            "say what they are brought to, for example with model.image_size=64."
        )
    return Target((height, width), channels, form.resize, same_as), own_channels, notes


def look(root: Path, paths: list[str], jobs: int, quiet: bool) -> list[tuple[int, int, bool] | None]:
    """Height, width and whether it is grey, of each image; None if it is broken. Nothing is decoded."""
    return [
        tuple(found) if found else None for found in in_chunks("look_chunk", "Looking at", root, paths, jobs, quiet)
    ]


def in_chunks(function: str, what: str, root: Path, paths: list[str], jobs: int, quiet: bool) -> list[Any]:
    """What a function of data/decode.py that takes `root` and `paths` returns for each image, by worker processes."""
    tasks = [{"root": str(root), "paths": paths[first : first + CHUNK]} for first in range(0, len(paths), CHUNK)]
    with progress_bar(len(paths), what, " images", quiet) as bar:
        found = workers.run(
            f"data.decode:{function}", tasks, jobs, lambda index: bar.update(len(tasks[index]["paths"]))
        )
    return [one for chunk in found for one in chunk]


def _first_size(data: ImageFiles) -> tuple[tuple[int, int], str]:
    """The size of the first training image that has one, and its path."""
    for path in data.listing.train:
        try:
            return image_size(data.root / path), path
        except BrokenImageError:
            if data.form.broken == "refuse":
                raise
    raise DataError(f"{data.root}: none of {counted(len(data.listing.train), 'training image')} is intact.")


def _tasks(folder: Path, split: str, data: ImageFiles, target: Target) -> Iterator[dict[str, Any]]:
    """Allocate the file for the pixels of a split, and give the tasks of the workers that fill it."""
    paths = data.listing.train if split == "train" else data.listing.val
    output = folder / f"{split}_images.npy"
    start = _allocate(output, (len(paths), *target.size, target.channels))
    for first in range(0, len(paths), CHUNK):
        yield {
            "root": str(data.root),
            "cache": str(folder.parent),
            "output": str(output),
            "target": target._asdict(),
            "paths": paths[first : first + CHUNK],
            "offset": start + first * math.prod(target.size) * target.channels,
        }


def _allocate(path: Path, shape: tuple[int, ...]) -> int:
    """Write the .npy header and allocate the disk space; returns the offset of the first pixel.

    A full disk is then noticed before the work, not in the middle of it.
    """
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.flush()
        start = file.tell()
        size = math.prod(shape)
        file.truncate(start + size)
        if hasattr(os, "posix_fallocate") and size:
            try:
                os.posix_fallocate(file.fileno(), 0, start + size)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
    return start


def _broken(tasks: list[dict[str, Any]], results: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """The broken images of a split: the position in it, and the path with the reason."""
    for chunk, (task, result) in enumerate(zip(tasks, results, strict=True)):
        for index, why in result["broken"]:
            yield chunk * CHUNK + index, f"{task['paths'][index]}: {why}"


def refusal(root: Path, broken: list[str]) -> DataError:
    """The error for broken images, each with the reason."""
    if len(broken) == 1:
        return DataError(
            f"{root / broken[0]}. Replace it, or remove it from the data set, or leave it out with data.broken=skip."
        )
    return DataError(
        f"{root}: {len(broken):,} broken images: {first_of(broken, SHOWN, '; ')}. Replace them, or remove them from "
        "the data set, or leave them out with data.broken=skip."
    )


def _drop_rows(path: Path, keep: np.ndarray) -> None:
    """Keep only these images of a file of pixels."""
    images, shorter = map_npy(path), path.with_suffix(".shorter")
    start = _allocate(shorter, (int(keep.sum()), *images.shape[1:]))
    with open(shorter, "r+b") as file:
        file.seek(start)
        for first in range(0, len(keep), CHUNK):
            part = slice(first, first + CHUNK)
            file.write(images[part][keep[part]].tobytes())
    shorter.replace(path)


def _require_images(data: ImageFiles, train_labels: np.ndarray, skipped: list[str]) -> None:
    """Raises DataError if a class has lost all of its training images."""
    left = Counter(train_labels.tolist())
    for label, class_id in enumerate(data.listing.class_ids):
        if not left[label]:
            raise DataError(
                f"{data.root}: all training images of class {class_id} are broken, {counted(len(skipped), 'image')} in "
                "all. Replace them, or move the folder of the class away."
            )


def _hashes(results: list[dict[str, Any]]) -> np.ndarray:
    """The first 64 bits of the SHA-256 of each file of a split, uint64 (n,)."""
    return np.asarray([int(digest[:16], 16) for result in results for digest in result["hashes"]], np.uint64)


def _fingerprint(listing: Listing, results: list[dict[str, Any]]) -> str:
    """See Dataset.fingerprint: a hash of the listing without the class names, and of every file."""
    digest = hashlib.sha256(json.dumps(listing._replace(class_names=())).encode())
    for result in results:
        digest.update(result["sha256"].encode())
    return digest.hexdigest()
