"""CIFAR-10: 32x32 photographs of ten classes; 50,000 for training, 10,000 for validation (Krizhevsky 2009)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from data.cifar import Version, load_cifar
from data.dataset import Dataset
from data.form import Form
from data.place import Place
from data.source import Archive, Known, Source, WebFile

FOLDER = "cifar-10-batches-bin"
BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
VERSION = Version(
    place=Place(name="cifar10", title="CIFAR-10", folder=FOLDER, file=BATCHES[0], is_archive=True),
    train=BATCHES,
    test="test_batch.bin",
    names="batches.meta.txt",
    labels=(10,),
    published=dict.fromkeys((*BATCHES, "test_batch.bin"), 10_000),
    python="data_batch_1",
)


def load(
    root: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
) -> Dataset:
    """Read the six files in the folder `root` into memory; `cache` and `workers` are not needed for that.

    Raises DataError where a file is missing or damaged. The message says what to do.
    """
    return load_cifar(Path(root), VERSION, form, quiet)


SOURCE = Source(
    folder=f"datasets/{FOLDER}",
    load=load,
    download=Archive(
        file=WebFile(
            name="cifar-10-binary.tar.gz",
            urls=(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
            ),
            size=170_052_171,
            md5="c32a1d4ab5d03f1284b67883e8d87530",
        ),
        folder=FOLDER,
        check=load,
    ),
    known=Known(size=(32, 32), channels=3, classes=10),
)
