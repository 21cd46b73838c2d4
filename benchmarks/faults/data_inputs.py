"""Damaged data sets, their cache and their archives, in the manner of inputs.py."""

import gzip
import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.inputs import Attempt, hold
from benchmarks.faults.mutations import damaged, mutated
from common.errors import UserError
from data import cifar100, mnist, shapes
from data.cache import SPLITS, open_build
from data.tiny_imagenet import load
from data.unpack import unpack

INSIDE = 0.5  # of the changes are made inside a tar archive, or in a file of MNIST that is packed
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


def tar_archives(folder: Path) -> Attempt:
    """The same of a tar.gz file, also damaged inside, where gzip has no say."""
    (folder / "packed" / "set").mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (folder / "packed" / "set" / f"{number}.bin").write_bytes(bytes(range(256)) * (number + 1))
    packed = Path(shutil.make_archive(str(folder / "whole"), "gztar", folder / "packed", "set"))
    content, path, target = packed.read_bytes(), folder / "set.tar.gz", folder / "target"
    inner = gzip.decompress(content)
    known = {file.read_bytes() for file in (folder / "packed").rglob("*.bin")}
    outside = sorted(folder.iterdir())

    def attempt(rng: random.Random) -> None:
        change, inside = rng.choice((mutated, damaged)), rng.random() < INSIDE
        path.write_bytes(gzip.compress(change(inner, rng), 1) if inside else change(content, rng))
        target.mkdir()
        try:
            unpack(path, target, top="set", quiet=True)
            for file in target.rglob("*"):
                hold(file.is_dir() or inside or file.read_bytes() in known, "an accepted archive has what was packed")
        finally:
            shutil.rmtree(target)
            hold(sorted(p for p in folder.iterdir() if p != path) == outside, "nothing is written elsewhere")

    return attempt


def idx_files(folder: Path) -> Attempt:
    """The four files of MNIST, packed and not: a header is that of the file, and a checksum finds the rest."""
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    images = struct.pack(">4I", 2051, 20, 5, 4) + bytes(range(200)) * 2
    labels = struct.pack(">2I", 2049, 20) + bytes(range(10)) * 2
    contents = {name: labels if "labels" in name else images for name in names}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    whole = mnist.load(folder)

    def attempt(rng: random.Random) -> None:
        name, is_packed, change = rng.choice(names), rng.random() < INSIDE, rng.choice((mutated, damaged))
        try:
            content = gzip.compress(contents[name], 1) if is_packed else contents[name]
            (folder / name).write_bytes(change(content, rng))
            read = mnist.load(folder)
            for split in (read.train, read.val):
                hold(split.images.shape == (20, 5, 4, 1) and split.labels.shape == (20,), "each image has a label")
                hold(bool((split.labels < 10).all()), "a label is that of a class")
            hold(not is_packed or read.fingerprint == whole.fingerprint, "a packed file has what was packed")
        finally:
            (folder / name).write_bytes(contents[name])

    return attempt


def cifar_files(folder: Path) -> Attempt:
    """The files of CIFAR-100, which have no checksums: only labels, names and whole images can be told."""
    rows = np.zeros((100, 3074), np.uint8)
    rows[:, 0], rows[:, 1] = np.arange(100) % 20, np.arange(100)
    names = "".join(f"class_{number}\n" for number in range(100)).encode()
    contents = {"train.bin": rows.tobytes(), "test.bin": rows.tobytes(), "fine_label_names.txt": names}
    for name, content in contents.items():
        (folder / name).write_bytes(content)

    def attempt(rng: random.Random) -> None:
        name = rng.choice(sorted(contents))
        try:
            (folder / name).write_bytes(rng.choice((mutated, damaged))(contents[name], rng))
            read = cifar100.load(folder)
            hold(len(set(read.class_ids)) == 100 == len(read.class_names), "each class is there once, with a name")
            for split in (read.train, read.val):
                hold(split.images.shape == (len(split.labels), 32, 32, 3), "each image has a label")
                hold(bool((split.labels < 100).all()), "a label is that of a class")
        finally:
            (folder / name).write_bytes(contents[name])

    return attempt


DATA_KINDS: dict[str, Callable[[Path], Attempt]] = {
    "cache": caches,
    "lists of a data set": texts,
    "images": images,
    "archive": archives,
    "tar archive": tar_archives,
    "files of MNIST": idx_files,
    "files of CIFAR": cifar_files,
}
