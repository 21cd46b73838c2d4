"""CIFAR-100: 32x32 photographs of a hundred classes; 50,000 for training, 10,000 for validation (Krizhevsky 2009)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from data.cifar import Version, load_cifar
from data.dataset import Dataset
from data.form import Form
from data.place import Place
from data.source import Archive, Known, Source, WebFile

FOLDER = "cifar-100-binary"
VERSION = Version(
    place=Place(name="cifar100", title="CIFAR-100", folder=FOLDER, file="train.bin", is_archive=True),
    train=("train.bin",),
    test="test.bin",
    names="fine_label_names.txt",
    labels=(20, 100),
    published={"train.bin": 50_000, "test.bin": 10_000},
    python="train",
)


def load(
    root: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
) -> Dataset:
    """Read both files in the folder `root` into memory; `cache` and `workers` are not needed for that.

    Raises DataError where a file is missing or damaged. The message says what to do.
    """
    return load_cifar(Path(root), VERSION, form, quiet)


SOURCE = Source(
    folder=f"datasets/{FOLDER}",
    load=load,
    download=Archive(
        file=WebFile(
            name="cifar-100-binary.tar.gz",
            urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
            size=168_513_733,
            md5="03b5dce01913d631647c71ecec9e9cb8",
        ),
        folder=FOLDER,
        check=load,
    ),
    known=Known(size=(32, 32), channels=3, classes=100),
)
