"""Reading a data set in the layout of Tiny ImageNet from the disk: names, sizes and times of files, and its texts.

What the layout is, and whether a data set is complete, is told in data/layout.py.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from common.errors import DataError
from common.files import reason

IMAGE_SUFFIXES = (".jpeg", ".jpg")
AGAIN = "Move the data set away and download, unpack or generate it again."
BYTE_ORDER_MARK = "\ufeff"  # some editors write it at the beginning of a text
ANNOTATIONS = "val/val_annotations.txt"
BOXES = "_boxes.txt"


class File(NamedTuple):
    name: str
    size: int  # bytes
    mtime_ns: int


class Scan(NamedTuple):
    """The files of a data set as they are on the disk, not yet checked."""

    root: Path
    texts: dict[str, bytes]  # relative path -> content, for wnids.txt, words.txt and the annotations
    train: dict[str, list[File]]  # class folder -> its images, sorted by name
    val: list[File]  # in val/images
    sorted_val: tuple[tuple[str, list[File]], ...] = ()  # folder below val that is named after a class, its images
    flat: frozenset[str] = frozenset()  # the class folders of `train` whose images lie in the folder itself

    def train_folder(self, wnid: str) -> str:
        """The folder of the images of a class folder, relative to the root."""
        return f"train/{wnid}" if wnid in self.flat else f"train/{wnid}/images"


def scan(root: Path) -> Scan:
    """List the files with sizes and times; no image is read. Raises DataError where a part is missing or unreadable."""
    try:
        _require_data_set(root)
        texts = {name: _read(root / name) for name in ("wnids.txt", "words.txt")}
        train = {wnid: _images(root / "train" / wnid / "images") for wnid in folders_in(root / "train")}
        flat = {wnid: _flat_images(root / "train" / wnid) for wnid, files in train.items() if not files}
        flat = {wnid: files for wnid, files in flat.items() if files}
        sorted_val = _sorted_val(root / "val", by_name(lines_of(texts["wnids.txt"].decode("utf-8", "replace"))))
        if not sorted_val or (root / ANNOTATIONS).exists():
            texts[ANNOTATIONS] = _read(root / ANNOTATIONS)
        return Scan(root, texts, train | flat, _images(root / "val" / "images"), sorted_val, frozenset(flat))
    except OSError as error:
        raise cannot_read(error, root) from error


def stamp(scanned: Scan) -> str:
    """A hash, in hexadecimal, that changes when an image or text file is added, removed, renamed or rewritten."""
    digest = hashlib.sha256()
    for name, content in scanned.texts.items():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    flat = [("flat", sorted(scanned.flat))] if scanned.flat else []
    for folder, files in (*scanned.train.items(), ("val", scanned.val), *scanned.sorted_val, *flat):
        digest.update(repr((folder, files)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _require_data_set(root: Path) -> None:
    if (root / "wnids.txt").is_file():
        return
    nested = root / "tiny-imagenet-200"
    if (nested / "wnids.txt").is_file():
        raise DataError(f"{root}: the data set is one folder deeper; use {nested}.")
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, where the folder of a data set is expected.")
    problem = "no wnids.txt here, so this is not a complete data set" if root.is_dir() else "no such folder"
    target = root.parent if root.name == "tiny-imagenet-200" else "datasets"
    raise DataError(
        f"{root}: {problem}. To get Tiny ImageNet: python -m data.download tiny_imagenet --to {quote(str(target))} "
        "(or, to see training work without a download: python train.py demo)."
    )


def cannot_read(error: OSError, root: Path) -> DataError:
    """The error for a file or folder of the data set that may not be read."""
    return DataError(f"{error.filename or root}: cannot be read: {reason(error)}. Fix the file or its permissions.")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: missing; the data set is incomplete. {AGAIN}")
    return path.read_bytes()


def folders_in(path: Path) -> list[str]:
    """The names of the folders in a folder, sorted. Raises DataError if it is missing."""
    if not path.is_dir():
        raise DataError(f"{path}: missing; the data set is incomplete. {AGAIN}")
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _sorted_val(val: Path, wnids: dict[str, str]) -> tuple[tuple[str, list[File]], ...]:
    """The images of the folders below `val` that are named after a class, with their place below `val`."""
    folders = [folder for folder in folders_in(val) if comparable(folder) in wnids] if val.is_dir() else []
    inner = [(f"{folder}/images", _images(val / folder / "images")) for folder in folders]
    outer = [(folder, _flat_images(val / folder)) for folder in folders]
    return tuple(sorted((place, files) for place, files in (*inner, *outer) if files))


def _flat_images(folder: Path) -> list[File]:
    """The images that lie in a class folder itself, next to its list of boxes and a folder `images`."""
    return _images(folder, lambda name: name == "images" or name.endswith(BOXES))


def _images(folder: Path, ignored: Callable[[str], bool] = lambda name: False) -> list[File]:
    """The images of one folder, sorted by name; none if it is missing, which data/layout.py reports."""
    files = []
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or ignored(entry.name):
                    continue  # .DS_Store and the like
                if not entry.name.lower().endswith(IMAGE_SUFFIXES):
                    raise DataError(
                        f"{entry.path}: not a .JPEG file; a folder of images must hold nothing else. Move it away."
                    )
                status = entry.stat()
                files.append(File(entry.name, status.st_size, status.st_mtime_ns))
    return sorted(files)


def text_of(scanned: Scan, name: str) -> list[str]:
    """The lines of a text. Raises DataError if it is not in UTF-8."""
    try:
        return lines_of(scanned.texts[name].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{scanned.root / name}: not a text file in UTF-8 ({error}). {AGAIN}") from error


def lines_of(text: str) -> list[str]:
    """The lines, without byte-order marks, of which texts that were joined can have several."""
    return [line.strip(BYTE_ORDER_MARK) for line in text.splitlines()]


def comparable(name: str) -> str:
    """A name in the form in which names are compared: equal to the eye is equal."""
    return unicodedata.normalize("NFC", name.strip())


def by_name(names: Iterable[str]) -> dict[str, str]:
    """The names as they are written, by the form in which they are compared."""
    return {comparable(name): name for name in names}
