"""MNIST: handwritten digits, 28x28, grey; 60,000 for training and 10,000 for validation (LeCun et al. 1998)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from data.dataset import Dataset
from data.form import Form
from data.idx import FIRST, load_idx
from data.place import Place
from data.source import Files, Known, Source, WebFile

CLASSES = tuple("0123456789")
PLACE = Place(name="mnist", title="MNIST", folder="mnist", file=FIRST, is_archive=False)
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")


def load(
    root: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
) -> Dataset:
    """Read the four files in the folder `root` into memory; `cache` and `workers` are not needed for that.

    Raises DataError where a file is missing or damaged. The message says what to do.
    """
    return load_idx(Path(root), PLACE, CLASSES, form, quiet)


def _file(name: str, size: int, md5: str) -> WebFile:
    return WebFile(name, tuple(mirror + name for mirror in MIRRORS), size, md5)


SOURCE = Source(
    folder="datasets/mnist",
    load=load,
    download=Files(
        files=(
            _file("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            _file("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
            _file("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
            _file("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        folder="mnist",
        check=load,
    ),
    known=Known(size=(28, 28), channels=1, classes=10),
)
