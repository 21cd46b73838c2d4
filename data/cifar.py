"""The binary version of CIFAR-10 and CIFAR-100: 32x32 images in colour (https://www.cs.toronto.edu/~kriz/cifar.html).

A file is a row of records: a label of one byte (CIFAR-100: a coarse one and a fine one, of which the fine one is used),
then 3,072 bytes of pixels in planes: 1,024 of red, 1,024 of green, 1,024 of blue, each row by row.
"""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import DamagedError, DataError
from data.dataset import Dataset, Split
from data.form import Form
from data.in_memory import Content, dataset_in_memory
from data.place import Place
from data.scan import cannot_read, lines_of
from data.source import Archive, Known, Source, WebFile

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # bytes of an image
MOST = 1 << 30  # bytes of a file; the largest has 154 million
LONGEST = 1 << 16  # bytes of a list of names


class Version(NamedTuple):
    """What distinguishes the two data sets."""

    place: Place
    train: tuple[str, ...]
    test: str
    names: str  # a file with the names of the classes, one a line
    labels: tuple[int, ...]  # classes of each label of a record; the last label is used
    published: dict[str, int]  # images in each file
    python: str  # a file that only the version for Python has


def cifar_source(version: Version, file: WebFile) -> Source:
    """The source of one of them; `file` is the archive that has it."""

    def load(
        root: str | PathLike[str],
        cache: str | PathLike[str] | None = None,
        workers: int | None = None,
        quiet: bool = False,
        form: Form = Form(),
    ) -> Dataset:
        """Read the files in the folder `root` into memory; `cache` and `workers` are not needed for that."""
        return load_cifar(Path(root), version, form, quiet)

    return Source(
        folder=f"datasets/{version.place.folder}",
        load=load,
        download=Archive(file, version.place.folder, check=load),
        known=Known(size=(SIDE, SIDE), channels=3, classes=version.labels[-1]),
        in_memory=True,
    )


def load_cifar(root: Path, version: Version, form: Form, quiet: bool) -> Dataset:
    """The data set in the folder `root`. Class ids are the names of the classes.

    Raises DataError where a file is missing or damaged.
    """
    place = version.place
    if (root / version.python).is_file() and not (root / place.file).is_file():
        raise DataError(
            f"{root}: {place.title} in the version for Python, while the binary version is read. To get that: "
            f"{place.command(root)}"
        )
    place.require(root)
    try:
        names = _names(root / version.names, version.labels[-1])
        files = {name: _read(root / name, version) for name in (*version.train, version.test)}
        _require_whole(root, version, files)
        train, test = (
            _split(root, [(name, files[name]) for name in group], version) for group in (version.train, (version.test,))
        )
    except DamagedError as error:
        raise DataError(f"{error}. {place.again(root)}") from error
    except OSError as error:
        raise cannot_read(error, root) from error
    contents = [Content(name, content) for name, content in files.items()]
    return dataset_in_memory(train, test, names, [name.replace("_", " ") for name in names], contents, form, quiet)


def _read(path: Path, version: Version) -> bytes:
    """Raises DamagedError if the file is missing or does not consist of whole records."""
    record = len(version.labels) + PIXELS
    if not path.is_file():
        raise DamagedError(f"{path}: missing; the data set is incomplete")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0 or size % record or size > MOST:
            raise DamagedError(
                f"{path}: damaged or cut short (it has {size:,} bytes, which is no multiple of {record:,})"
                if size % record
                else f"{path}: damaged or cut short (it has {size:,} bytes)"
            )
        return file.read()


def _require_whole(root: Path, version: Version, files: dict[str, bytes]) -> None:
    """Raise DamagedError if some files have the published number of images and others have not.

    A file that is cut short between two images shows no other sign; a data set of fewer images has fewer in all files.
    """
    record = len(version.labels) + PIXELS
    counts = {name: len(content) // record for name, content in files.items()}
    cut = [name for name, count in counts.items() if count != version.published[name]]
    if cut and len(cut) < len(counts):
        raise DamagedError(
            f"{root / cut[0]}: damaged or cut short (it has {counts[cut[0]]:,} images, not "
            f"{version.published[cut[0]]:,})"
        )


def _split(root: Path, files: list[tuple[str, bytes]], version: Version) -> Split:
    """The images and labels of these files, one after the other."""
    kinds = len(version.labels)
    records = [np.frombuffer(content, np.uint8).reshape(-1, kinds + PIXELS) for _, content in files]
    for (name, _), rows in zip(files, records, strict=True):
        wrong = np.argwhere(rows[:, :kinds] >= version.labels)
        if len(wrong):
            row, kind = wrong[0]
            raise DamagedError(
                f"{root / name}: damaged (label {rows[row, kind]} of image {row + 1:,}, and the labels are 0 to "
                f"{version.labels[kind] - 1})"
            )
    images = np.empty((sum(map(len, records)), SIDE, SIDE, 3), np.uint8)
    first = 0
    for rows in records:
        planes = rows[:, kinds:].reshape(-1, 3, SIDE, SIDE)
        images[first : first + len(rows)] = planes.transpose(0, 2, 3, 1)  # (n, C, H, W) -> (n, H, W, C)
        first += len(rows)
    return Split(images, np.concatenate([rows[:, kinds - 1] for rows in records]).astype(np.int32))


def _names(path: Path, classes: int) -> list[str]:
    """The names of the classes. Raises DamagedError if they are not `classes` different ones."""
    if not path.is_file():
        raise DamagedError(f"{path}: missing, which has the names of the classes; the data set is incomplete")
    with open(path, "rb") as file:
        content = file.read(LONGEST)
    try:
        names = [line.strip() for line in lines_of(content.decode("utf-8")) if line.strip()]
    except UnicodeDecodeError as error:
        raise DamagedError(f"{path}: not a text file in UTF-8 ({error})") from error
    if len(names) != classes or len(set(names)) != classes:
        raise DamagedError(f"{path}: damaged (it has {len(set(names)):,} different names, not {classes})")
    odd = next((name for name in names if not name.isprintable()), None)
    if odd is not None:
        raise DamagedError(f"{path}: damaged ({odd!r} is no name)")
    return names
