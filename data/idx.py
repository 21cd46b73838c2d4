"""The idx format of MNIST: images and labels in four files, each plain or compressed by gzip.

A file begins with whole numbers of 32 bits, big-endian: a magic number (2051 for images, 2049 for labels), the number
of images or labels and, for images, their height and width. One byte for each pixel or label follows.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from common.errors import DamagedError, DataError
from data.dataset import Dataset, Split
from data.form import Form
from data.gzipped import BEST_RATIO, MAGIC, PIECE, Unzipped
from data.in_memory import Content, dataset_in_memory
from data.place import Place
from data.scan import cannot_read
from data.source import Files, Known, Source, WebFile

KINDS = {2051: "images", 2049: "labels"}
NUMBERS = {2051: 4, 2049: 2}  # in the header
MOST = 1 << 30  # bytes of a file, unpacked; MNIST has 47 million
TRAIN, TEST = "train", "t10k"  # how the names of the files begin
FIRST = "train-images-idx3-ubyte"


class Idx(NamedTuple):
    """A file of this format."""

    path: Path
    content: Content
    values: np.ndarray  # uint8 (n, H, W) or (n,)


def idx_source(
    place: Place, class_names: tuple[str, ...], mirrors: tuple[str, ...], published: Mapping[str, tuple[int, str]]
) -> Source:
    """The source of a data set of four such files.

    place: where they are expected.  mirrors: addresses of folders that have them.  published: size and md5 of each.
    """

    def load(
        root: str | PathLike[str],
        cache: str | PathLike[str] | None = None,
        workers: int | None = None,
        quiet: bool = False,
        form: Form = Form(),
    ) -> Dataset:
        """Read the files in the folder `root` into memory; `cache` and `workers` are not needed for that."""
        return load_idx(Path(root), place, class_names, form, quiet)

    files = tuple(
        WebFile(name, tuple(mirror + name for mirror in mirrors), size, md5) for name, (size, md5) in published.items()
    )
    return Source(
        folder=f"datasets/{place.folder}",
        load=load,
        download=Files(files, place.folder, check=load),
        known=Known(size=(28, 28), channels=1, classes=len(class_names)),
        in_memory=True,
    )


def load_idx(root: Path, place: Place, class_names: tuple[str, ...], form: Form, quiet: bool) -> Dataset:
    """The data set of the four files in the folder `root`. Class ids are the labels: "0", "1", ...

    Raises DataError where a file is missing or damaged, a label is out of range, or files do not match.
    """
    place.require(root)
    try:
        train_images, train_labels = _read_split(root, TRAIN, place, len(class_names))
        test_images, test_labels = _read_split(root, TEST, place, len(class_names))
    except DamagedError as error:
        raise DataError(f"{error}. {place.again(root)}") from error
    except OSError as error:
        raise cannot_read(error, root) from error
    if train_images.values.shape[1:] != test_images.values.shape[1:]:
        sizes = ["{1}x{2}".format(*images.values.shape) for images in (train_images, test_images)]
        raise DataError(
            f"{test_images.path}: images of {sizes[1]}, while {train_images.path.name} has images of {sizes[0]}: the "
            "files are of different data sets. Put those of one data set there."
        )
    return dataset_in_memory(
        _split(train_images, train_labels),
        _split(test_images, test_labels),
        [str(label) for label in range(len(class_names))],
        class_names,
        [file.content for file in (train_images, train_labels, test_images, test_labels)],
        form,
        quiet,
    )


def _split(images: Idx, labels: Idx) -> Split:
    return Split(images.values[..., None], labels.values.astype(np.int32))


def _read_split(root: Path, begin: str, place: Place, classes: int) -> tuple[Idx, Idx]:
    images = _read(root, f"{begin}-images-idx3-ubyte", 2051, place)
    labels = _read(root, f"{begin}-labels-idx1-ubyte", 2049, place)
    if len(images.values) != len(labels.values):
        raise DamagedError(
            f"{labels.path}: {len(labels.values):,} labels for {len(images.values):,} images of {images.path.name}: "
            "they do not belong together"
        )
    wrong = np.flatnonzero(labels.values >= classes)
    if len(wrong):
        raise DamagedError(
            f"{labels.path}: damaged (label {wrong[0] + 1:,} is {labels.values[wrong[0]]}, and {place.title} has the "
            f"labels 0 to {classes - 1})"
        )
    return images, labels


def _read(root: Path, name: str, magic: int, place: Place) -> Idx:
    """The file of this name, or with the suffix .gz, whichever of them gzip has compressed.

    Raises:
        DataError: it is missing.
        DamagedError: it is damaged.
        OSError: it cannot be read.
    """
    path = next((path for path in (root / name, root / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise place.missing(root / name, also=f", and so is {name}.gz")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        is_compressed = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        stream = Unzipped(file, str(path), MOST) if is_compressed else file
        header = stream.read(4 * NUMBERS[magic])
        shape = _shape(path, header, magic)
        expected = len(header) + math.prod(shape)
        if expected > MOST or expected > size * BEST_RATIO or (not is_compressed and expected != size):
            raise _wrong_size(path, f"it has {size:,} bytes{' before unpacking' if is_compressed else ''}", expected)
        content = _read_all(stream, header, expected)
        if len(content) != expected:
            what = "more bytes" if len(content) > expected else f"{len(content):,} bytes"
            raise _wrong_size(path, f"it unpacks to {what}", expected)
    return Idx(path, Content(name, content), np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape))


def _read_all(stream: Unzipped | IO[bytes], header: bytes, expected: int) -> bytearray:
    """The file, and one byte more if there is one: at its end gzip compares the checksum."""
    content = bytearray(header)
    while piece := stream.read(min(PIECE, expected + 1 - len(content))):
        content += piece
    return content


def _shape(path: Path, header: bytes, magic: int) -> tuple[int, ...]:
    if len(header) < 4 * NUMBERS[magic]:
        raise DamagedError(f"{path}: damaged or cut short (it has {len(header)} bytes)")
    found, *shape = struct.unpack(f">{NUMBERS[magic]}I", header)
    if found in KINDS and found != magic:
        raise DamagedError(f"{path}: holds {KINDS[found]}, where {KINDS[magic]} are expected (magic number {found})")
    if found != magic:
        raise DamagedError(f"{path}: not an idx file of {KINDS[magic]} (magic number {found}, not {magic})")
    if 0 in shape:
        raise DamagedError(f"{path}: it holds no {KINDS[magic]}")
    return tuple(shape)


def _wrong_size(path: Path, what: str, expected: int) -> DamagedError:
    return DamagedError(f"{path}: damaged or cut short ({what}, and {expected:,} by its header)")
