"""FashionMNIST: articles of clothing in the format of MNIST, 28x28, grey (Xiao et al. 2017, arXiv:1708.07747)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from data.dataset import Dataset
from data.form import Form
from data.idx import FIRST, load_idx
from data.place import Place
from data.source import Files, Known, Source, WebFile

CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
PLACE = Place(name="fashion_mnist", title="FashionMNIST", folder="fashion-mnist", file=FIRST, is_archive=False)
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)


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
    folder="datasets/fashion-mnist",
    load=load,
    download=Files(
        files=(
            _file("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            _file("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
            _file("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
            _file("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        folder="fashion-mnist",
        check=load,
    ),
    known=Known(size=(28, 28), channels=1, classes=10),
)
