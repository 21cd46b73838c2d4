"""The folder layout of Tiny ImageNet: listing its files, and messages about what is missing.

Files, relative to the root of the data set:

    wnids.txt                          the class ids (WordNet ids), one per line; line n is label n - 1
    words.txt                          id TAB name for people
    train/<wnid>/images/*.JPEG
    train/<wnid>/<wnid>_boxes.txt      optional: file TAB 4 box numbers; lists the files that must be there
    val/images/*.JPEG
    val/val_annotations.txt            file TAB wnid TAB 4 box numbers

Tutorials often leave the data set in another form, which is read as well: training images in train/<wnid>/ itself, and
validation images sorted into class folders, val/<wnid>/images/ or val/<wnid>/. The folder then gives the label, and
val_annotations.txt may be missing. Names are compared in the Unicode form NFC, since some file systems change the form.
"""

from __future__ import annotations

import warnings

from common.errors import DataError
from common.text import counted, first_of
from data.dataset import Listing
from data.scan import AGAIN, ANNOTATIONS, BOXES, Scan, by_name, cannot_read, comparable, folders_in, lines_of, text_of

UNEQUAL = 2  # a class this many times smaller than the largest one looks incomplete


def listing(scanned: Scan) -> Listing:
    """Check that the data set is complete, and list its images with their labels.

    Raises DataError where it is not. Warns of classes of very unequal size, which suggest an incomplete copy.
    """
    wnids = _wnids(scanned)
    try:
        _check_classes(scanned, wnids)
    except OSError as error:
        raise cannot_read(error, scanned.root) from error
    folder_of = by_name(scanned.train)
    folders = [folder_of[comparable(wnid)] for wnid in wnids]
    train = [f"{scanned.train_folder(folder)}/{file.name}" for folder in folders for file in scanned.train[folder]]
    train_labels = [label for label, folder in enumerate(folders) for _ in scanned.train[folder]]
    val, val_labels = _val(scanned, {comparable(wnid): label for label, wnid in enumerate(wnids)})
    return Listing(wnids, _names(scanned, wnids), train, train_labels, val, val_labels)


def _wnids(scanned: Scan) -> tuple[str, ...]:
    path = scanned.root / "wnids.txt"
    wnids = tuple(line.strip() for line in text_of(scanned, "wnids.txt") if line.strip())
    if not wnids:
        raise DataError(f"{path}: lists no classes. {AGAIN}")
    seen: set[str] = set()
    for wnid in wnids:
        if comparable(wnid) in seen:
            raise DataError(f"{path}: lists {wnid} twice; remove one of the lines.")
        seen.add(comparable(wnid))
    return wnids


def _names(scanned: Scan, wnids: tuple[str, ...]) -> tuple[str, ...]:
    words = {}
    for line in text_of(scanned, "words.txt"):
        wnid, tab, name = line.partition("\t")
        if tab:
            words[comparable(wnid)] = name.strip()
    for wnid in wnids:
        if not words.get(comparable(wnid)):
            raise DataError(
                f"{scanned.root / 'words.txt'}: no name for the class {wnid}; add the line {wnid} TAB name."
            )
    return tuple(words[comparable(wnid)] for wnid in wnids)


def _check_classes(scanned: Scan, wnids: tuple[str, ...]) -> None:
    train = scanned.root / "train"
    known, folder_of = set(map(comparable, wnids)), by_name(scanned.train)
    for folder in scanned.train:
        if comparable(folder) not in known or folder_of[comparable(folder)] != folder:
            raise DataError(
                f"{train / folder}: a class folder that wnids.txt does not list; add it there, or move it away."
            )
    all_listed = True
    for wnid in wnids:
        if comparable(wnid) not in folder_of:
            raise DataError(f"{train / wnid}: this class of wnids.txt has no folder. {AGAIN}")
        folder = folder_of[comparable(wnid)]
        if not scanned.train[folder]:
            raise DataError(f"{train / folder / 'images'}: no images; the data set is incomplete. {AGAIN}")
        all_listed = _check_boxes(scanned, folder) and all_listed
    if not all_listed:
        _warn_if_unequal(scanned)


def _check_boxes(scanned: Scan, folder: str) -> bool:
    """Whether <wnid>_boxes.txt exists. Raises DataError if a file that it names is missing."""
    path = scanned.root / "train" / folder / f"{folder}{BOXES}"
    if not path.is_file():
        return False
    present = by_name(file.name for file in scanned.train[folder])
    listed = lines_of(path.read_text(encoding="utf-8", errors="replace"))
    expected = [line.split("\t")[0].strip() for line in listed if line.strip()]
    inside = scanned.root / scanned.train_folder(folder)
    missing = [str(inside / name) for name in expected if comparable(name) not in present]
    if missing:
        raise DataError(f"{first_of(missing, 1)}: missing, but {path.name} lists it. {AGAIN}")
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
    """Paths and labels of the validation images: those that are annotated in this order, then the others, by class.

    `label_of` has the class ids in the form in which they are compared.
    """
    by_folder = {
        f"val/{place}/{file.name}": label_of[comparable(place.partition("/")[0])]
        for place, files in scanned.sorted_val
        for file in files
    }
    labels = _annotated(scanned, label_of, by_folder) if ANNOTATIONS in scanned.texts else {}
    annotated = {_file_name(place) for place in labels}  # a file of the same name in a class folder is a copy
    others = {place: label for place, label in by_folder.items() if _file_name(place) not in annotated}
    labels |= dict(sorted(others.items(), key=lambda item: (item[1], item[0])))
    if not labels:
        raise DataError(f"{scanned.root / ANNOTATIONS}: lists no images. {AGAIN}")
    for place in (f"val/images/{file.name}" for file in scanned.val):
        if place not in labels:
            raise DataError(
                f"{scanned.root / place}: has no line in val_annotations.txt; move the file away or add the line."
            )
    for folder in folders_in(scanned.root / "val") if others else ():
        if folder != "images" and comparable(folder) not in label_of:
            raise DataError(
                f"{scanned.root / 'val' / folder}: a folder among the class folders that wnids.txt does not list; add "
                "it there, or move it away."
            )
    return list(labels), list(labels.values())


def _annotated(scanned: Scan, label_of: dict[str, int], by_folder: dict[str, int]) -> dict[str, int]:
    """The label of each image with a line in the annotations, by its path; `by_folder`: those in class folders."""
    path = scanned.root / ANNOTATIONS
    places = {_file_name(place): place for place in by_folder}
    places |= {comparable(file.name): f"val/images/{file.name}" for file in scanned.val}
    labels: dict[str, int] = {}
    for number, line in enumerate(text_of(scanned, ANNOTATIONS), start=1):
        if not line.strip():
            continue
        name, wnid, *_ = (*line.split("\t"), "")
        place, label = places.get(comparable(name)), label_of.get(comparable(wnid))
        if place in labels:
            raise DataError(f"{path}, line {number}: {name} is annotated twice; remove one of the lines.")
        if label is None:
            raise DataError(f"{path}, line {number}: {name} has the class {wnid!r}, which wnids.txt does not list.")
        if place is None:
            raise DataError(f"{path.parent / 'images' / name}: missing, but val_annotations.txt lists it. {AGAIN}")
        if by_folder.get(place, label) != label:
            raise DataError(
                f"{scanned.root / place}: val_annotations.txt, line {number}, says that its class is {wnid.strip()}; "
                "move it to that folder, or correct the line."
            )
        labels[place] = label
    return labels


def _file_name(place: str) -> str:
    return comparable(place.rpartition("/")[2])
