"""Listing the files of an image folder: which are images, in which class, and what is left alone. None is opened."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import first_of
from data.pictures import UNREAD, suffixes
from data.scan import cannot_read

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test")  # the first of them that is there is validated on
IGNORED = frozenset({"__macosx", "@eadir", "lost+found"})  # folders that programs leave behind
TEXTS = ("classes.txt", "words.txt", "wnids.txt")
DEPTH = 32  # of folders in each other
SHOWN = 5


class ImageFile(NamedTuple):
    path: str  # relative to the root
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int  # of the last change of the file or of what the disk says of it; unlike the other, no program sets it


ClassFolders = dict[str, list[ImageFile]]


class FolderScan(NamedTuple):
    """An image folder as it is on the disk."""

    root: Path
    train: ClassFolders  # class folder -> its images, sorted
    val: ClassFolders  # empty where there is no such split
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


def scan_folder(root: Path, val_folder: str | None = None, cache: Path | None = None) -> FolderScan:
    """List the images of all class folders, with sizes and times.

    `val_folder` is the folder beside train/ that is validated on; None: the first of VAL that is there. `cache` is a
    folder that is no part of the data, wherever it lies.

    Raises DataError where a folder cannot be read, or there is no `val_folder`.
    """
    try:
        return _Walk(root, os.path.realpath(cache) if cache else None).scan(val_folder)
    except OSError as error:
        raise cannot_read(error, root) from error


@dataclass
class _Walk:
    """A walk through the folders."""

    root: Path
    cache: str | None
    left_alone: Counter[str] = field(default_factory=Counter)
    loose: int = 0

    def scan(self, val_folder: str | None) -> FolderScan:
        folders = self.folders(self.root)
        called = {folder.casefold(): folder for folder in folders}
        train = next((called[name] for name in TRAIN if name in called and self.folders(self.root / called[name])), "")
        val = self.val_folder(val_folder, train, called)
        self.loose += sum(1 for _ in self.files(self.root))
        return FolderScan(
            root=self.root,
            train=self.classes(train) if train else {name: self.images(self.root / name) for name in folders},
            val=self.classes(val) if val else {},
            train_folder=train or ".",
            val_folder=val,
            texts={name: (self.root / name).read_bytes() for name in TEXTS if (self.root / name).is_file()},
            left_alone=self.left_alone,
            loose=self.loose,
            unused=tuple(name for name in folders if name not in (train, val)) if train else (),
        )

    def val_folder(self, wanted: str | None, train: str, called: dict[str, str]) -> str:
        """The folder of the validation images; "" where there is none."""
        if wanted is None:
            return next((called[name] for name in VAL if name in called), "") if train else ""
        found = called.get(wanted.rstrip("/").casefold(), "")
        if not train or found in ("", train):
            raise DataError(
                f"{self.root / wanted}: no such folder beside train/; data.val_folder names one with a folder for each "
                "class, or is null."
            )
        return found

    def classes(self, split: str) -> ClassFolders:
        """The images of each class folder of a split. Those beside the folders are counted in `loose`."""
        self.loose += sum(1 for _ in self.files(self.root / split))
        return {name: self.images(self.root / split / name) for name in self.folders(self.root / split)}

    def folders(self, path: Path) -> list[str]:
        """The names of the folders in a folder, sorted, without hidden ones and the cache."""
        with os.scandir(path) as entries:
            found = [
                entry.name
                for entry in entries
                if entry.is_dir() and not (self.cache and os.path.realpath(entry.path) == self.cache)
            ]
        return sorted(name for name in found if not name.startswith(".") and name.casefold() not in IGNORED)

    def files(self, folder: Path) -> Iterator[ImageFile]:
        """The images in a folder itself. Other files are counted in `left_alone`, but for the texts in the root."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() or (folder == self.root and entry.name in TEXTS):
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()
                leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)  # is told of by `stat`
                if entry.name.startswith(".") or suffix not in suffixes() or not (entry.is_file() or leads_nowhere):
                    self.left_alone[suffix or entry.name] += 1
                    continue
                status = entry.stat()
                path = os.path.relpath(entry.path, self.root).replace(os.sep, "/")
                _require_text(self.root, path)
                yield ImageFile(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def images(self, folder: Path) -> list[ImageFile]:
        """The images in a folder and in those below it, sorted."""
        return sorted(self._all_images(folder, ()))

    def _all_images(self, folder: Path, above: tuple[str, ...]) -> Iterator[ImageFile]:
        place = os.path.realpath(folder)
        if place in above or len(above) > DEPTH:
            raise DataError(f"{folder}: folders in a circle, or more than {DEPTH} in each other; remove the link.")
        yield from self.files(folder)
        for name in self.folders(folder):
            yield from self._all_images(folder / name, (*above, place))


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
        unused = first_of(scanned.unused, SHOWN)
        notes.append(f"folders beside {scanned.train_folder}/ that are not used: {unused}")
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
    return first_of([f"{count:,} {name}" for name, count in ranked], SHOWN, counts=[count for _, count in ranked])
