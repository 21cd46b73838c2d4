"""The folder layout of Tiny ImageNet: what must be there, and what to say when it is not.

Files, relative to the root of the data set:

    wnids.txt                          the classes, one WordNet id per line; their order gives the labels
    words.txt                          id TAB human names
    train/<wnid>/images/*.JPEG
    train/<wnid>/<wnid>_boxes.txt      optional: file TAB 4 box numbers; lists what the images folder must hold
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

IMAGE_SUFFIXES = (".jpeg", ".jpg")
AGAIN = "Move the data set away and download, unpack or generate it again."
UNEQUAL = 2  # a class with this many times fewer images than the largest one looks half-unpacked


class File(NamedTuple):
    name: str
    size: int  # bytes
    mtime_ns: int


class Scan(NamedTuple):
    """What is on the disk, without having judged it."""

    root: Path
    texts: dict[str, bytes]  # relative path -> content, for wnids.txt, words.txt and the annotations
    train: dict[str, list[File]]  # class folder -> its images, sorted by name
    val: list[File]


class Listing(NamedTuple):
    """Every image in the order of the data set, with its label."""

    wnids: tuple[str, ...]
    names: tuple[str, ...]
    train: list[str]  # paths relative to the root
    train_labels: list[int]
    val: list[str]
    val_labels: list[int]


def scan(root: Path) -> Scan:
    """Look at every file once (names, sizes, times; nothing is decoded). Raises DataError where a part is missing."""
    try:
        _require_data_set(root)
        texts = {name: _read(root / name) for name in ("wnids.txt", "words.txt", "val/val_annotations.txt")}
        train = {wnid: _images(root / "train" / wnid / "images") for wnid in _folders(root / "train")}
        return Scan(root, texts, train, _images(root / "val" / "images"))
    except OSError as error:
        raise _cannot_read(error, root) from error


def stamp(found: Scan) -> str:
    """A hash that changes when any image or text file is added, removed, renamed or written again."""
    digest = hashlib.sha256()
    for name, content in found.texts.items():
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    for folder, files in (*found.train.items(), ("val", found.val)):
        digest.update(repr((folder, files)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def listing(found: Scan) -> Listing:
    """Check that the data set is whole and say which image has which label. Raises DataError, warns of odd sizes."""
    wnids = _wnids(found)
    try:
        _check_classes(found, wnids)
    except OSError as error:
        raise _cannot_read(error, found.root) from error
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    train = [f"train/{wnid}/images/{file.name}" for wnid in wnids for file in found.train[wnid]]
    train_labels = [label_of[wnid] for wnid in wnids for _ in found.train[wnid]]
    val, val_labels = _val(found, label_of)
    return Listing(wnids, _names(found, wnids), train, train_labels, val, val_labels)


def _require_data_set(root: Path) -> None:
    if (root / "wnids.txt").is_file():
        return
    nested = root / "tiny-imagenet-200"
    if (nested / "wnids.txt").is_file():
        raise DataError(f"{root}: the data set is one folder deeper; use {nested}.")
    problem = "no wnids.txt here, so this is not a whole data set" if root.is_dir() else "no such folder"
    target = root.parent if root.name == "tiny-imagenet-200" else "datasets"
    raise DataError(
        f"{root}: {problem}. To get Tiny ImageNet: python -m data.download tiny_imagenet --to {target} "
        "(or, to see training work without a download: python train.py demo)."
    )


def _cannot_read(error: OSError, root: Path) -> DataError:
    return DataError(f"{error.filename or root}: cannot be read: {reason(error)}. Mend the file or its permissions.")


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(f"{path}: missing; the data set is only half there. {AGAIN}")
    return path.read_bytes()


def _text(found: Scan, name: str) -> list[str]:
    try:
        return found.texts[name].decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{found.root / name}: not a text file in UTF-8 ({error}). {AGAIN}") from error


def _folders(path: Path) -> list[str]:
    if not path.is_dir():
        raise DataError(f"{path}: missing; the data set is only half there. {AGAIN}")
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[File]:
    """The images of one folder; an absent folder counts as empty (the check names it later, with its class)."""
    files = []
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # .DS_Store and its like
                if not entry.name.lower().endswith(IMAGE_SUFFIXES):
                    raise DataError(f"{entry.path}: not a .JPEG file; images folders hold nothing else. Move it away.")
                status = entry.stat()
                files.append(File(entry.name, status.st_size, status.st_mtime_ns))
    return sorted(files)


def _wnids(found: Scan) -> tuple[str, ...]:
    path = found.root / "wnids.txt"
    wnids = tuple(line.strip() for line in _text(found, "wnids.txt") if line.strip())
    if not wnids:
        raise DataError(f"{path}: lists no classes. {AGAIN}")
    seen: set[str] = set()
    for wnid in wnids:
        if wnid in seen:
            raise DataError(f"{path}: lists {wnid} twice; remove one of the lines.")
        seen.add(wnid)
    return wnids


def _names(found: Scan, wnids: tuple[str, ...]) -> tuple[str, ...]:
    words = {}
    for line in _text(found, "words.txt"):
        wnid, tab, name = line.partition("\t")
        if tab:
            words[wnid.strip()] = name.strip()
    for wnid in wnids:
        if not words.get(wnid):
            raise DataError(f"{found.root / 'words.txt'}: no name for the class {wnid}; add the line {wnid} TAB name.")
    return tuple(words[wnid] for wnid in wnids)


def _check_classes(found: Scan, wnids: tuple[str, ...]) -> None:
    train = found.root / "train"
    known = set(wnids)
    for folder in found.train:
        if folder not in known:
            raise DataError(f"{train / folder}: a class folder that wnids.txt does not list; move it away.")
    listed = True
    for wnid in wnids:
        if wnid not in found.train:
            raise DataError(f"{train / wnid}: this class of wnids.txt has no folder. {AGAIN}")
        if not found.train[wnid]:
            raise DataError(f"{train / wnid / 'images'}: no images; the data set is only half there. {AGAIN}")
        listed = _check_boxes(found, wnid) and listed
    if not listed:
        _warn_if_unequal(found)


def _check_boxes(found: Scan, wnid: str) -> bool:
    """Where <wnid>_boxes.txt exists, every file that it names must be there. False: it does not exist."""
    folder = found.root / "train" / wnid
    path = folder / f"{wnid}_boxes.txt"
    if not path.is_file():
        return False
    have = {file.name for file in found.train[wnid]}
    want = [line.split("\t")[0].strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    missing = [name for name in want if name not in have]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{folder / 'images' / missing[0]}{more}: missing, but {path.name} lists it. {AGAIN}")
    return True


def _warn_if_unequal(found: Scan) -> None:
    smallest = min(found.train, key=lambda wnid: len(found.train[wnid]))
    largest = max(found.train, key=lambda wnid: len(found.train[wnid]))
    few, many = len(found.train[smallest]), len(found.train[largest])
    if few * UNEQUAL <= many:
        warnings.warn(
            f"{found.root / 'train'}: classes of very unequal size: {smallest} has {few} images, {largest} has {many}. "
            "If the data set was copied or unpacked only in part, do that again.",
            stacklevel=2,
        )


def _val(found: Scan, label_of: dict[str, int]) -> tuple[list[str], list[int]]:
    """The validation images in the order of the annotations."""
    path, folder = found.root / "val" / "val_annotations.txt", found.root / "val" / "images"
    have = {file.name for file in found.val}
    labels: dict[str, int] = {}
    for number, line in enumerate(_text(found, "val/val_annotations.txt"), start=1):
        if not line.strip():
            continue
        name, wnid, *_ = (*line.split("\t"), "")
        if name in labels:
            raise DataError(f"{path}, line {number}: {name} is annotated twice; remove one of the lines.")
        if wnid.strip() not in label_of:
            raise DataError(f"{path}, line {number}: {name} has the class {wnid!r}, which wnids.txt does not list.")
        if name not in have:
            raise DataError(f"{folder / name}: missing, though val_annotations.txt lists it. {AGAIN}")
        labels[name] = label_of[wnid.strip()]
    if not labels:
        raise DataError(f"{path}: lists no images. {AGAIN}")
    for name in sorted(have):
        if name not in labels:
            raise DataError(f"{folder / name}: has no line in val_annotations.txt; move the file away or add the line.")
    return [f"val/images/{name}" for name in labels], list(labels.values())
