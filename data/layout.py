"""The folder layout of Tiny ImageNet: listing its files, and messages about what is missing.

Files, relative to the root of the data set:

    wnids.txt                          the class ids (WordNet ids), one per line; line n is label n - 1
    words.txt                          id TAB name for people
    train/<wnid>/images/*.JPEG
    train/<wnid>/<wnid>_boxes.txt      optional: file TAB 4 box numbers; lists the files that must be there
    val/images/*.JPEG
    val/val_annotations.txt            file TAB wnid TAB 4 box numbers
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import reason
from common.text import counted
from data.dataset import Listing

IMAGE_SUFFIXES = (".jpeg", ".jpg")
AGAIN = "Move the data set away and download, unpack or generate it again."
UNEQUAL = 2  # a class this many times smaller than the largest one looks incomplete


class File(NamedTuple):
    name: str
    size: int  # bytes
    mtime_ns: int


class Scan(NamedTuple):
    """The files of a data set as they are on the disk, not yet checked."""

    root: Path
    texts: dict[str, bytes]  # relative path -> content, for wnids.txt, words.txt and the annotations
    train: dict[str, list[File]]  # class folder -> its images, sorted by name
    val: list[File]


def scan(root: Path) -> Scan:
    """List the files with sizes and times; no image is read. Raises DataError where a part is missing or unreadable."""
    try:
        _require_data_set(root)
        texts = {name: _read(root / name) for name in ("wnids.txt", "words.txt", "val/val_annotations.txt")}
        train = {wnid: _images(root / "train" / wnid / "images") for wnid in _folders(root / "train")}
        return Scan(root, texts, train, _images(root / "val" / "images"))
    except OSError as error:
        raise _cannot_read(error, root) from error


def stamp(scanned: Scan) -> str:
    """A hash, in hexadecimal, that changes when an image or text file is added, removed, renamed or rewritten."""
    digest = hashlib.sha256()
    for name, content in scanned.texts.items():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    for folder, files in (*scanned.train.items(), ("val", scanned.val)):
        digest.update(repr((folder, files)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def listing(scanned: Scan) -> Listing:
    """Check that the data set is complete, and list its images with their labels.

    Raises DataError where it is not. Warns of classes of very unequal size, which suggest an incomplete copy.
    """
    wnids = _wnids(scanned)
    try:
        _check_classes(scanned, wnids)
    except OSError as error:
        raise _cannot_read(error, scanned.root) from error
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    train = [f"train/{wnid}/images/{file.name}" for wnid in wnids for file in scanned.train[wnid]]
    train_labels = [label_of[wnid] for wnid in wnids for _ in scanned.train[wnid]]
    val, val_labels = _val(scanned, label_of)
    return Listing(wnids, _names(scanned, wnids), train, train_labels, val, val_labels)


def _require_data_set(root: Path) -> None:
    if (root / "wnids.txt").is_file():
        return
    nested = root / "tiny-imagenet-200"
    if (nested / "wnids.txt").is_file():
        raise DataError(f"{root}: the data set is one folder deeper; use {nested}.")
    problem = "no wnids.txt here, so this is not a complete data set" if root.is_dir() else "no such folder"
    target = root.parent if root.name == "tiny-imagenet-200" else "datasets"
    raise DataError(
        f"{root}: {problem}. To get Tiny ImageNet: python -m data.download tiny_imagenet --to {target} "
        "(or, to see training work without a download: python train.py demo)."
    )


def _cannot_read(error: OSError, root: Path) -> DataError:
    return DataError(f"{error.filename or root}: cannot be read: {reason(error)}. Fix the file or its permissions.")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: missing; the data set is incomplete. {AGAIN}")
    return path.read_bytes()


def _text(scanned: Scan, name: str) -> list[str]:
    try:
        return scanned.texts[name].decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{scanned.root / name}: not a text file in UTF-8 ({error}). {AGAIN}") from error


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        raise DataError(f"{path}: missing; the data set is incomplete. {AGAIN}")
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[File]:
    """The images of one folder, sorted by name; none if it is missing (`_check_classes` reports that)."""
    files = []
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # .DS_Store and the like
                if not entry.name.lower().endswith(IMAGE_SUFFIXES):
                    raise DataError(
                        f"{entry.path}: not a .JPEG file; a folder of images must hold nothing else. Move it away."
                    )
                status = entry.stat()
                files.append(File(entry.name, status.st_size, status.st_mtime_ns))
    return sorted(files)


def _wnids(scanned: Scan) -> tuple[str, ...]:
    path = scanned.root / "wnids.txt"
    wnids = tuple(line.strip() for line in _text(scanned, "wnids.txt") if line.strip())
    if not wnids:
        raise DataError(f"{path}: lists no classes. {AGAIN}")
    seen: set[str] = set()
    for wnid in wnids:
        if wnid in seen:
            raise DataError(f"{path}: lists {wnid} twice; remove one of the lines.")
        seen.add(wnid)
    return wnids


def _names(scanned: Scan, wnids: tuple[str, ...]) -> tuple[str, ...]:
    words = {}
    for line in _text(scanned, "words.txt"):
        wnid, tab, name = line.partition("\t")
        if tab:
            words[wnid.strip()] = name.strip()
    for wnid in wnids:
        if not words.get(wnid):
            raise DataError(
                f"{scanned.root / 'words.txt'}: no name for the class {wnid}; add the line {wnid} TAB name."
            )
    return tuple(words[wnid] for wnid in wnids)


def _check_classes(scanned: Scan, wnids: tuple[str, ...]) -> None:
    train = scanned.root / "train"
    known = set(wnids)
    for folder in scanned.train:
        if folder not in known:
            raise DataError(f"{train / folder}: a class folder that wnids.txt does not list; move it away.")
    all_listed = True
    for wnid in wnids:
        if wnid not in scanned.train:
            raise DataError(f"{train / wnid}: this class of wnids.txt has no folder. {AGAIN}")
        if not scanned.train[wnid]:
            raise DataError(f"{train / wnid / 'images'}: no images; the data set is incomplete. {AGAIN}")
        all_listed = _check_boxes(scanned, wnid) and all_listed
    if not all_listed:
        _warn_if_unequal(scanned)


def _check_boxes(scanned: Scan, wnid: str) -> bool:
    """Whether <wnid>_boxes.txt exists. Raises DataError if a file that it names is missing."""
    folder = scanned.root / "train" / wnid
    path = folder / f"{wnid}_boxes.txt"
    if not path.is_file():
        return False
    present = {file.name for file in scanned.train[wnid]}
    expected = [line.split("\t")[0].strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    missing = [name for name in expected if name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{folder / 'images' / missing[0]}{more}: missing, but {path.name} lists it. {AGAIN}")
    return True


def _warn_if_unequal(scanned: Scan) -> None:
    smallest = min(scanned.train, key=lambda wnid: len(scanned.train[wnid]))
    largest = max(scanned.train, key=lambda wnid: len(scanned.train[wnid]))
    few, many = len(scanned.train[smallest]), len(scanned.train[largest])
    if few * UNEQUAL <= many:
        folder = scanned.root / "train"
        warnings.warn(
            f"{folder}: classes of very unequal size: {smallest} has {counted(few, 'image')}, {largest} has {many}. "
            "If the data set was only partly copied or unpacked, do that again.",
            stacklevel=2,
        )


def _val(scanned: Scan, label_of: dict[str, int]) -> tuple[list[str], list[int]]:
    """Paths and labels of the validation images, in the order of the annotations."""
    path, folder = scanned.root / "val" / "val_annotations.txt", scanned.root / "val" / "images"
    present = {file.name for file in scanned.val}
    labels: dict[str, int] = {}
    for number, line in enumerate(_text(scanned, "val/val_annotations.txt"), start=1):
        if not line.strip():
            continue
        name, wnid, *_ = (*line.split("\t"), "")
        if name in labels:
            raise DataError(f"{path}, line {number}: {name} is annotated twice; remove one of the lines.")
        if wnid.strip() not in label_of:
            raise DataError(f"{path}, line {number}: {name} has the class {wnid!r}, which wnids.txt does not list.")
        if name not in present:
            raise DataError(f"{folder / name}: missing, but val_annotations.txt lists it. {AGAIN}")
        labels[name] = label_of[wnid.strip()]
    if not labels:
        raise DataError(f"{path}: lists no images. {AGAIN}")
    for name in sorted(present):
        if name not in labels:
            raise DataError(f"{folder / name}: has no line in val_annotations.txt; move the file away or add the line.")
    return [f"val/images/{name}" for name in labels], list(labels.values())
