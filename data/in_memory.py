"""Data sets that are small enough to be read into memory as a whole, without the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from common.errors import DataError
from common.memory import format_bytes, machine_memory
from common.progress import progress_bar
from data.dataset import Dataset, Split
from data.form import Form
from data.resize import fit
from data.statistics import mean_and_std, sums_of

AT_ONCE = 1000  # images between two updates of the progress bar


class Content(NamedTuple):
    """A file of a data set: what the fingerprint depends on."""

    name: str  # of the plain file
    unpacked: bytes | bytearray


def dataset_in_memory(
    train: Split,
    val: Split,
    class_ids: Sequence[str],
    class_names: Sequence[str],
    contents: Iterable[Content],
    form: Form,
    quiet: bool,
) -> Dataset:
    """The data set of these images, brought to `form`. The fingerprint is that of the files, whatever the form.

    Raises DataError where the images would not fit into memory.
    """
    digest = hashlib.sha256(json.dumps(list(class_ids)).encode())
    for name, unpacked in contents:
        digest.update(f"{name}\n{len(unpacked)}\n".encode())
        digest.update(unpacked)
    images, val_images = _formed(train, val, form, quiet)
    mean, std = mean_and_std(images.size // images.shape[-1], *sums_of(images))
    return Dataset(
        train=Split(images, train.labels),
        val=Split(val_images, val.labels),
        class_ids=tuple(class_ids),
        class_names=tuple(class_names),
        mean=mean,
        std=std,
        fingerprint=digest.hexdigest(),
    )


def _formed(train: Split, val: Split, form: Form, quiet: bool) -> list[np.ndarray]:
    """The images of both splits in `form`."""
    shape = train.images.shape[1:]
    wanted = (*(form.size or shape[:2]), form.channels or shape[2])
    if wanted == shape:
        return [np.asarray(train.images), np.asarray(val.images)]
    count = len(train.images) + len(val.images)
    needed, there = count * int(np.prod(wanted)), machine_memory()
    if there is not None and needed > there:
        raise DataError(
            f"{count:,} images of {wanted[0]}x{wanted[1]} take {format_bytes(needed)} of memory, and this machine has "
            f"{format_bytes(there)}: choose a smaller model.image_size."
        )
    with progress_bar(count, "Resizing", " images", quiet) as bar:
        results = []
        for split in (train, val):
            result = np.empty((len(split.images), *wanted), np.uint8)
            for number, image in enumerate(np.asarray(split.images)):
                result[number] = _brought(image, wanted, form)
                if (number + 1) % AT_ONCE == 0:
                    bar.update(AT_ONCE)
            bar.update(len(split.images) % AT_ONCE)
            results.append(result)
    return results


def _brought(image: np.ndarray, shape: tuple[int, ...], form: Form) -> np.ndarray:
    """One image: uint8 (H, W, C) -> an array that `shape` = (H', W', C') takes, with one channel or C'."""
    pillow = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if pillow.mode == "RGB" and shape[2] == 1:
        pillow = pillow.convert("L")
    fitted = np.asarray(fit(pillow, (shape[0], shape[1]), form.resize))
    return fitted[..., None] if fitted.ndim == 2 else fitted  # numpy repeats one channel as often as needed
