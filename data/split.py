"""Dividing a folder of images into folders for training, validation and test.

    python -m data.split photos photos-split --val 0.1 --test 0.1

SRC/<class>/** becomes DST/train/<class>/**, DST/val/... and DST/test/..., as links to the files in SRC, or with --copy
as copies. The content of a file decides where it goes, by its hash, in each class alike (data/holdout.py): the result
is the same tomorrow, an image stays where it is when others are added, and copies of an image are never on two sides.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shlex import quote

import numpy as np

from common import files
from common.command import run_command
from common.errors import DataError
from common.paths import named_path
from common.progress import progress_bar
from common.text import counted
from data.dataset import Listing
from data.decode import read
from data.folder_scan import TEXTS, left_alone_notes, scan_folder
from data.holdout import held_out_by_content
from data.image_folder import listing, require_folder

SPLITS = ("train", "val", "test")


def main(argv: Sequence[str]) -> int:
    options = parse_arguments(argv)
    source, target = options.source, options.target
    require_folder(source)
    scanned = scan_folder(source)
    if scanned.train_folder != ".":
        train = f"train with data.root={quote(str(source))}"
        raise DataError(f"{source}: divided already: it has {scanned.train_folder}/; {train}")
    images = listing(scanned)
    require_new(source, target)
    splits = divide(source, images, options.val, options.test)
    write(source, target, images, splits, options.copy)
    counts = Counter(splits)
    parts = ", ".join(f"{counts[number]:,} in {name}/" for number, name in enumerate(SPLITS) if counts[number])
    classes = counted(len(images.class_ids), "class", "classes")
    print(f"{target}: {parts}, of {classes}, as {'copies' if options.copy else 'links'}")
    for note in left_alone_notes(scanned):
        print(f"note    {note}")
    held_out = "" if options.val else " data.holdout=0.1"  # else the folder for a test would be validated on
    print(f"train with: python train.py image_folder data.root={quote(str(target))}{held_out}")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.split", description="Divide a folder of images into train/, val/ and test/."
    )
    parser.add_argument("source", metavar="SRC", type=named_path, help="has a folder for each class")
    parser.add_argument("target", metavar="DST", type=named_path, help="the new folder")
    parser.add_argument("--val", type=share, default=0.1, metavar="SHARE", help="for validation (%(default)s)")
    parser.add_argument("--test", type=share, default=0.0, metavar="SHARE", help="for a last test (%(default)s)")
    parser.add_argument("--copy", action="store_true", help="copy the files; without it, links to them are made")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    if options.val + options.test >= 1:
        parser.error(f"--val {options.val:g} --test {options.test:g}: nothing would be left to train on")
    if not options.val + options.test:
        parser.error("--val 0 --test 0: nothing to divide")
    return options


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 0 and below 1")
    return value


def require_new(source: Path, target: Path) -> None:
    """Raises DataError unless `target` is missing or empty, and lies outside `source`, whose classes it would join."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{target}: there already; name a new folder")
    if source.resolve() in (target.resolve(), *target.resolve().parents):
        raise DataError(f"{target}: lies in {source}, where it would be another class; name a folder elsewhere")


def divide(root: Path, images: Listing, val: float, test: float) -> list[int]:
    """The position in SPLITS for each training image of the listing. Raises DataError if a file cannot be read."""
    with progress_bar(len(images.train), "Reading", " images", quiet=False) as bar:
        found = []
        for path in images.train:
            found.append(int(hashlib.sha256(read(root / path)).hexdigest()[:16], 16))
            bar.update()
    hashes, labels = np.asarray(found, np.uint64), np.asarray(images.train_labels)
    splits, classes = np.zeros(len(hashes), int), len(images.class_ids)
    if val:
        splits[held_out_by_content(labels, hashes, val, classes)] = 1
    if test:
        rest = np.flatnonzero(splits == 0)
        other = hashes[rest] << np.uint64(32) | hashes[rest] >> np.uint64(32)  # its halves know nothing of each other
        splits[rest[held_out_by_content(labels[rest], other, test / (1 - val), classes)]] = 2
    return splits.tolist()


def write(root: Path, target: Path, images: Listing, splits: list[int], copy: bool) -> None:
    """Make the folder `target` with all images; it is there as a whole or not at all. Raises DataError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.remove_stale_partials(target)
        with files.partial_folder(target) as partial:
            with progress_bar(len(splits), "Copying" if copy else "Linking", " images", quiet=False) as bar:
                for path, split in zip(images.train, splits, strict=True):
                    place = partial.joinpath(SPLITS[split], *PurePosixPath(path).parts)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    if copy:
                        shutil.copy2(root / path, place)
                    else:
                        os.symlink((root / path).resolve(), place)
                    bar.update()
            for name in TEXTS:
                if (root / name).is_file():
                    shutil.copy2(root / name, partial / name)
            if target.exists():
                target.rmdir()
            partial.rename(target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written: {files.reason(error)}. Free some space, or name another folder"
            f"{'' if copy else '; where there are no links, use --copy'}."
        ) from error


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; nothing was written"))
