"""Listing the files of an image folder: which are images, in which class, and what is left alone. None is opened."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.pictures import UNREAD, suffixes
from data.scan import cannot_read, comparable

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test")  # the first of them that is there is validated on
IGNORED = frozenset({"__macosx", "@eadir", "lost+found"})  # folders that programs leave behind
TEXTS = ("classes.txt", "words.txt", "wnids.txt")
DEPTH = 32  # of folders in each other


class Image(NamedTuple):
    path: str  # relative to the root
    size: int  # bytes
    mtime_ns: int


Classes = dict[str, list[Image]]


class FolderScan(NamedTuple):
    """An image folder as it is on the disk."""

    root: Path
    train: Classes  # class folder -> its images, sorted
    val: Classes  # empty where there is no such split
    train_folder: str  # relative to the root; "." where the classes lie in the root
    val_folder: str  # "" where there is no such split
    texts: dict[str, bytes]
    left_alone: Counter[str]  # files that are no images, by the end of the name
    loose: int  # images outside any class folder
    unused: tuple[str, ...]  # folders that are there besides, such as test/

    @property
    def stamp(self) -> str:
        """A hash, in hexadecimal, that changes when an image or a text is added, removed, renamed or rewritten."""
        digest = hashlib.sha256(repr((self.train_folder, self.val_folder, sorted(self.texts.items()))).encode())
        for classes in (self.train, self.val):
            digest.update(repr(sorted(classes.items())).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def scan_folder(root: Path, val_folder: str | None = None) -> FolderScan:
    """List the images of all class folders, with sizes and times.

    `val_folder` is the folder beside train/ that is validated on; None: the first of VAL that is there.

    Raises DataError where a folder cannot be read, or there is no `val_folder`.
    """
    try:
        folders = _folders(root)
        splits = {folder.casefold(): folder for folder in folders}
        train = next((splits[name] for name in TRAIN if name in splits and _folders(root / splits[name])), "")
        others = [splits[name] for name in VAL if name in splits] if train else []
        if val_folder is not None:
            if not train or val_folder not in folders or val_folder == train:
                raise DataError(
                    f"{root / val_folder}: no such folder beside train/; data.val_folder names one with a folder for "
                    "each class, or is null."
                )
            others = [val_folder]
        left_alone: Counter[str] = Counter()
        loose = [*_files(root, root, left_alone), *(_files(root, root / train, left_alone) if train else ())]
        parts = []
        for part in (train or ".", *others[:1]):
            inside = folders if part == "." else _folders(root / part)
            if part != "." and part != train:
                loose += _files(root, root / part, left_alone)
            parts.append({name: sorted(_images(root, root / part / name, left_alone)) for name in inside})
        texts = {name: (root / name).read_bytes() for name in TEXTS if (root / name).is_file()}
    except OSError as error:
        raise cannot_read(error, root) from error
    return FolderScan(
        root=root,
        train=parts[0],
        val=parts[1] if others else {},
        train_folder=train or ".",
        val_folder=others[0] if others else "",
        texts=texts,
        left_alone=left_alone,
        loose=len(loose),
        unused=tuple(name for name in folders if name not in (train, *others[:1])) if train else (),
    )


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return sorted(name for name in names if not name.startswith(".") and name.casefold() not in IGNORED)


def _files(root: Path, folder: Path, left_alone: Counter[str]) -> Iterator[Image]:
    """The images in a folder itself. Other files are counted in `left_alone`, but for the texts in the root."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() or (folder == root and entry.name in TEXTS):
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or suffix not in suffixes() or not entry.is_file():
                left_alone[suffix or entry.name] += 1
                continue
            status = entry.stat()
            path = os.path.relpath(entry.path, root).replace(os.sep, "/")
            _require_text(root, path)
            yield Image(path, status.st_size, status.st_mtime_ns)


def _images(root: Path, folder: Path, left_alone: Counter[str], above: tuple[str, ...] = ()) -> Iterator[Image]:
    """The images in a folder and in those below it. `above` are the folders around it, to notice a circle of links."""
    place = os.path.realpath(folder)
    if place in above or len(above) > DEPTH:
        raise DataError(f"{folder}: folders in a circle, or more than {DEPTH} in each other; remove the link.")
    yield from _files(root, folder, left_alone)
    for name in _folders(folder):
        yield from _images(root, folder / name, left_alone, (*above, place))


def _require_text(root: Path, path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{root / path}: its name is not text in UTF-8; rename it.") from None


def left_alone_notes(scanned: FolderScan) -> list[str]:
    """What was not read, in lines."""
    notes = other_files_notes(scanned.left_alone)
    if scanned.loose:
        notes.append(f"images outside the class folders, and left alone: {scanned.loose:,}")
    if scanned.unused:
        more = f" and {len(scanned.unused) - 5:,} more" if len(scanned.unused) > 5 else ""
        notes.append(f"folders beside {scanned.train_folder}/ that are not used: {', '.join(scanned.unused[:5])}{more}")
    return notes


def other_files_notes(left_alone: Counter[str]) -> list[str]:
    """Of files that are no images, or none that is read, how many there are, by the ends of their names."""
    notes = []
    others = {name: count for name, count in left_alone.items() if name not in UNREAD}
    unread = {name: count for name, count in left_alone.items() if name in UNREAD}
    if others:
        notes.append(f"no images, and left alone: {_listed(others)}")
    if unread:
        notes.append(f"pictures that are not read: {_listed(unread)}; convert them to JPEG or PNG")
    return notes


def _listed(counts: dict[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count:,} {name}" for name, count in ranked[:5])
    return shown + (f" and {sum(count for _, count in ranked[5:]):,} more" if len(ranked) > 5 else "")


def by_comparable(classes: Classes) -> dict[str, str]:
    """The class folders by the form in which names are compared."""
    return {comparable(name): name for name in classes}
