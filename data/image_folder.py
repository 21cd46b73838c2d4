"""A folder of images of one's own: a folder for each class, with images in any format and of any size.

    ROOT/train/<class>/**    and for validation ROOT/val/<class>/** (or valid/, validation/, test/)
    ROOT/<class>/**          a part of each class is held out for validation (data.holdout, see data/holdout.py)

A class has all images in its folder and in the folders below it. Classes are in the order of their names, and are
called as their folders, unless a text in ROOT says otherwise, in lines FOLDER TAB NAME: `words.txt` may have any
folders, `classes.txt` those of the classes only. A `classes.txt` or `wnids.txt` (FOLDER alone) with all of the classes
gives their order, too. Other files are left alone.
"""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from shlex import quote

import numpy as np

from common.command import in_one_line
from common.errors import DataError
from common.text import counted, first_of
from data.cache import cached_dataset
from data.dataset import Dataset, Listing
from data.folder_scan import (
    TRAIN,
    VAL,
    ClassFolders,
    FolderScan,
    left_alone_notes,
    scan_folder,
)
from data.form import Form
from data.scan import by_name, comparable, lines_of
from data.source import Source

CACHE = ".cache"  # in the root: hidden, so that it is no class
UNEQUAL = 10  # times as many images in one class as in another are worth a word


def load(
    root: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
    val_folder: str | None = None,
) -> Dataset:
    """Open the data set in the folder `root`; see data/source.py. `val_folder` names that of the validation images.

    `val` has no images where there is no folder for them. Raises DataError where there are no classes, where one has no
    images, and where an image is broken or the cache cannot be written.
    """
    folder = Path(root)
    require_folder(folder)
    place = Path(cache) if cache is not None else folder / CACHE
    if place.resolve() == folder.resolve():
        raise DataError(f"data.cache={place}: the folder of the images, where it would be a class; name another one.")
    scanned = scan_folder(folder, val_folder, place)
    files = listing(scanned)
    dataset = cached_dataset(
        folder,
        place,
        scanned.stamp,
        lambda: files,
        workers,
        quiet,
        form,
        variant=val_folder or "",
    )
    notes = [*left_alone_notes(scanned), *dataset.notes, *_copies_notes(dataset)]
    notes += unequal_notes(dataset.train.labels, dataset.class_names)
    return dataset._replace(notes=tuple(notes))


def require_folder(root: Path) -> None:
    """Raises DataError if there is no such folder."""
    if not root.is_dir():
        problem = "a file, where a folder of images is expected" if root.exists() else "no such folder"
        raise DataError(
            f"{root}: {problem}. Make a folder for each class, put its images there, and name the folder around them "
            "with data.root=DIR."
        )


def listing(scanned: FolderScan) -> Listing:
    """The images with their labels. Raises DataError where they make no data set."""
    _require_classes(scanned)
    class_ids = _ordered(scanned)
    label_of = {comparable(name): label for label, name in enumerate(class_ids)}
    train = [(image.path, label) for label, name in enumerate(class_ids) for image in scanned.train[name]]
    val = []
    for name, images in scanned.val.items():
        if comparable(name) in label_of:
            val += [(image.path, label_of[comparable(name)]) for image in images]
        elif images:
            raise DataError(_unknown_class(scanned, name))
    val.sort(key=lambda item: (item[1], item[0]))
    if scanned.val_folder and not val:
        raise DataError(
            f"{scanned.root / scanned.val_folder}: no images; put some there, in a folder for each class, or remove "
            "the folder: then a part of the training images is held out."
        )
    return Listing(
        class_ids,
        _names(scanned, class_ids),
        [path for path, _ in train],
        [label for _, label in train],
        [path for path, _ in val],
        [label for _, label in val],
    )


def _require_classes(scanned: FolderScan) -> None:
    place = scanned.root if scanned.train_folder == "." else scanned.root / scanned.train_folder
    filled = [name for name, images in scanned.train.items() if images]
    if not filled:
        loose = f"; {counted(scanned.loose, 'image')} in the folder itself" if scanned.loose else ""
        raise DataError(
            f"{place}: no folder with images{loose}. Make a folder for each class, with its images, and name the "
            "folder around them with data.root=DIR."
        )
    alone = {name.casefold() for name in scanned.train} & {*TRAIN, *VAL}
    if scanned.train_folder == "." and len(alone) > 1:
        raise DataError(
            f"{place}: {' and '.join(f'{name}/' for name in sorted(alone))}, and no class folders in train/: make a "
            "folder for each class there, with its images."
        )
    _require_different(place, scanned.train)
    for name, images in scanned.train.items():
        inside = {image.path.removeprefix(f"{scanned.train_folder}/").split("/")[1].casefold() for image in images}
        if inside & {*TRAIN} and inside & {*VAL}:
            raise DataError(
                f"{place / name}: holds train/ and folders to validate on, as a data set of its own: name it with "
                f"data.root={quote(str(place / name))}"
            )
    empty = [name for name in scanned.train if name not in filled]
    if empty:
        raise DataError(
            f"{place / first_of(empty, 1)}: a class folder without images that can be read. Put images there, or move "
            "the folder away."
        )
    if len(filled) == 1:
        hint = _meant_instead(scanned, place, filled[0])
        raise DataError(f"{place}: a single class, {filled[0]}, and there must be two to tell apart; {hint}.")


def _meant_instead(scanned: FolderScan, place: Path, only: str) -> str:
    """What to do about a folder with a single class: often the folder around it, or that inside it, is meant."""
    deeper = {image.path.split("/")[1] for image in scanned.train[only] if image.path.count("/") > 1}
    if scanned.train_folder == "." and len(deeper) > 1:
        return f"if its folders are the classes, name it with data.root={quote(str(place / only))}"
    if scanned.loose > len(scanned.train[only]):
        above = quote(str(place.absolute().parent))
        return f"if the {scanned.loose:,} images beside it are a class, name the folder above: data.root={above}"
    return "add a folder for another class"


def _require_different(place: Path, classes: ClassFolders) -> None:
    """Raises DataError if two class folders have names that look the same."""
    seen: dict[str, str] = {}
    for name in classes:
        other = seen.setdefault(comparable(name), name)
        if other != name:
            raise DataError(f"{place}: the class folders {other!r} and {name!r} look the same; rename one of them.")


def _unknown_class(scanned: FolderScan, name: str) -> str:
    place = scanned.root / scanned.val_folder / name
    if name == "images" and (scanned.root / "wnids.txt").exists():
        return f"{place}: this is the layout of Tiny ImageNet: use data.name=tiny_imagenet."
    near = {folder.casefold(): folder for folder in scanned.train}.get(name.casefold())
    hint = f"rename it to {near}" if near else "add that folder, or move this one away"
    return f"{place}: a class without a folder in {scanned.train_folder}/; {hint}."


def _ordered(scanned: FolderScan) -> tuple[str, ...]:
    """The class folders in the order of their labels."""
    folders = by_name(scanned.train)
    for text in ("wnids.txt", "classes.txt"):
        first = [line.partition("\t")[0].strip() for line in _lines(scanned, text)]
        listed = [folders[comparable(line)] for line in first if comparable(line) in folders]
        if sorted(listed) == sorted(scanned.train):
            return tuple(listed)
    return tuple(sorted(scanned.train))


def _names(scanned: FolderScan, class_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The name of each class, for people."""
    names, known = {comparable(name): name for name in class_ids}, by_name(scanned.train)
    for text in ("words.txt", "classes.txt"):
        for number, line in enumerate(_lines(scanned, text), start=1):
            folder, _, name = (part.strip() for part in line.partition("\t"))
            if comparable(folder) in known:
                names[comparable(folder)] = name or names[comparable(folder)]
            elif text == "classes.txt" and line.strip():
                raise DataError(
                    f"{scanned.root / text}, line {number}: {folder!r} is no class folder; write FOLDER TAB NAME."
                )
    return tuple(in_one_line(names[comparable(name)]) for name in class_ids)


def _lines(scanned: FolderScan, text: str) -> list[str]:
    try:
        return lines_of(scanned.texts.get(text, b"").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{scanned.root / text}: not a text file in UTF-8 ({error}). Save it as UTF-8.") from error


def _copies_notes(dataset: Dataset) -> list[str]:
    """How many images are copies of others, and what that means."""
    train, val = dataset.train, dataset.val
    if train.hashes is None or val.hashes is None:
        return []
    notes = []
    copies = len(train.hashes) - len(np.unique(train.hashes))
    if copies:
        are = "is a copy" if copies == 1 else "are copies"
        notes.append(f"{counted(copies, 'training image')} {are} of others")
    pairs = np.unique(np.stack([train.hashes, train.labels.astype(np.uint64)], axis=1), axis=0)
    ambiguous = len(pairs) - len(np.unique(pairs[:, 0]))
    if ambiguous:
        notes.append(f"{counted(ambiguous, 'image')} with copies in two classes: `python -m data.inspect` names them")
    shared = int(np.isin(val.hashes, train.hashes).sum())
    if shared:
        notes.append(f"{counted(shared, 'validation image')} with a copy among the training images")
    return notes


def unequal_notes(labels: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """A line if one class has UNEQUAL times as many images as another. `labels` (n,) are those of the images."""
    counts = np.bincount(labels, minlength=len(names))
    few, many = int(counts.argmin()), int(counts.argmax())
    if counts[few] * UNEQUAL > counts[many]:
        return []
    return [f"classes of very unequal size: {counts[few]:,} ({names[few]}) to {counts[many]:,} ({names[many]}) images"]


def list_files(root: Path) -> Listing:
    """The images with their labels. Raises DataError where they make no data set."""
    require_folder(root)
    return listing(scan_folder(root))


SOURCE = Source(
    folder="datasets/images",
    load=load,
    split_by_content=True,
    validated_on=lambda name: partial(load, val_folder=name),
    list_files=list_files,
)
