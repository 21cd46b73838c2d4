"""Damaged data sets, their cache and their archives, in the manner of inputs.py."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.inputs import Attempt, hold
from benchmarks.faults.mutations import damaged, mutated
from common.errors import UserError
from data import shapes
from data.cache import SPLITS, open_build
from data.tiny_imagenet import load
from data.unpack import unpack

PER_CLASS = 2  # images, in each split


def data_set(folder: Path) -> Path:
    """A small one, decoded."""
    root = folder / "data"
    shapes.generate(root, train_per_class=PER_CLASS, val_per_class=PER_CLASS, workers=1, quiet=True)
    load(root, workers=1, quiet=True)
    return root


def caches(folder: Path) -> Attempt:
    """The decoded images: what was changed is not used."""
    (folder_of_build,) = (data_set(folder) / "cache").glob("v*")
    stamp = json.loads((folder_of_build / "about.json").read_text())["stamp"]
    whole = open_build(folder_of_build, stamp)
    assert whole is not None
    labels = {split: np.array(whole.labels[split]) for split in SPLITS}
    names = ("about.json", "train_labels.npy", "val_labels.npy")
    contents = {name: (folder_of_build / name).read_bytes() for name in names}

    def attempt(rng: random.Random) -> None:
        name = rng.choice(sorted(contents))
        try:
            (folder_of_build / name).write_bytes(rng.choice((mutated, damaged))(contents[name], rng))
            read = open_build(folder_of_build, stamp)
            if read is None:
                raise UserError("it is built anew")
            hold(read.about == whole.about, "a cache that is used has its statistics and classes")
            for split in SPLITS:
                hold(np.array_equal(read.labels[split], labels[split]), "a cache that is used has its labels")
        finally:
            (folder_of_build / name).write_bytes(contents[name])

    return attempt


def texts(folder: Path) -> Attempt:
    """The lists of a data set: classes, their names, validation images."""
    root = data_set(folder)
    shutil.rmtree(root / "cache")
    names = ("wnids.txt", "words.txt", "val/val_annotations.txt")
    contents = {name: (root / name).read_bytes() for name in names}

    def attempt(rng: random.Random) -> None:
        name = rng.choice(names)
        try:
            (root / name).write_bytes(mutated(contents[name], rng))
            read = load(root, folder / "cache", workers=1, quiet=True)
            count = len(read.class_ids)
            hold(len(set(read.class_ids)) == count == len(read.class_names), "each class is there once, with a name")
            for split in (read.train, read.val):
                hold(len(split.labels) == len(split.images), "each image has a label")
                hold(bool((split.labels < count).all()), "a label is that of a class")
            hold(len(read.train.labels) == PER_CLASS * count, "all training images of the classes are there")
        finally:
            (root / name).write_bytes(contents[name])
            shutil.rmtree(folder / "cache", ignore_errors=True)

    return attempt


def images(folder: Path) -> Attempt:
    """An image of a data set. Not all damage inside can be found (see data/jpeg.py); all the rest must be refused."""
    root = data_set(folder)
    path = min((root / "train").rglob("*.JPEG"))
    content = path.read_bytes()

    def attempt(rng: random.Random) -> None:
        try:
            path.write_bytes(rng.choice((mutated, damaged))(content, rng))
            read = load(root, folder / "cache", workers=1, quiet=True)
            hold(len(read.train.images) == PER_CLASS * len(read.class_ids), "all training images are there")
            hold(read.train.images.shape[1:] == (64, 64, 3), "images keep their size")
        finally:
            path.write_bytes(content)
            shutil.rmtree(folder / "cache", ignore_errors=True)

    return attempt


def archives(folder: Path) -> Attempt:
    """A downloaded zip file: nothing is written outside its folder, and nothing is unpacked that was not packed."""
    (folder / "packed" / "set").mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (folder / "packed" / "set" / f"{number}.bin").write_bytes(bytes(range(256)) * (number + 1))
    packed = Path(shutil.make_archive(str(folder / "whole"), "zip", folder / "packed", "set"))
    content, path, target = packed.read_bytes(), folder / "set.zip", folder / "target"
    known = {file.read_bytes() for file in (folder / "packed").rglob("*.bin")}
    outside = sorted(folder.iterdir())

    def attempt(rng: random.Random) -> None:
        path.write_bytes(rng.choice((mutated, damaged))(content, rng))
        target.mkdir()
        try:
            unpack(path, target, top="set", quiet=True)
            for file in target.rglob("*"):
                hold(file.is_dir() or file.read_bytes() in known, "an accepted archive has what was packed")
        finally:
            shutil.rmtree(target)
            hold(sorted(p for p in folder.iterdir() if p != path) == outside, "nothing is written elsewhere")

    return attempt


DATA_KINDS: dict[str, Callable[[Path], Attempt]] = {
    "cache": caches,
    "lists of a data set": texts,
    "images": images,
    "archive": archives,
}
