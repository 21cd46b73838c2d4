"""Tiny ImageNet, and any other data set in its folder layout (see data/layout.py)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from data import layout
from data.cache import cached_dataset
from data.dataset import Dataset, Listing
from data.form import Form
from data.scan import scan, stamp
from data.source import Archive, Known, Source, WebFile


def load(
    root: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    workers: int | None = None,
    quiet: bool = False,
    form: Form = Form(),
) -> Dataset:
    """Open the data set in the folder `root`.

    The images are decoded into the folder `cache` (default: <root>/cache) at the first call, and again after an image
    or text file of the data set has changed. `workers` is the number of decoding processes (default: one per core);
    `quiet` turns the progress bar off. Images of another size than `form.size` are resized; without it, all must have
    the same size.

    Raises DataError where the data set is missing, incomplete or damaged, or the cache cannot be written. The message
    says what to do.
    """
    folder = Path(root)
    scanned = scan(folder)
    return cached_dataset(
        folder,
        Path(cache) if cache is not None else None,
        stamp(scanned),
        lambda: layout.listing(scanned),
        workers,
        quiet,
        form,
        jpeg=True,
    )


def list_files(root: Path) -> Listing:
    """The images with their labels. Raises DataError unless `root` holds a complete data set. No image is decoded."""
    return layout.listing(scan(root))


SOURCE = Source(
    folder="datasets/tiny-imagenet-200",
    load=load,
    download=Archive(
        file=WebFile(
            name="tiny-imagenet-200.zip",
            urls=("https://cs231n.stanford.edu/tiny-imagenet-200.zip",),
            size=248_100_043,
            md5="90528d7ca1a48142e341f4ef8d21d0de",
        ),
        folder="tiny-imagenet-200",
        check=list_files,
    ),
    known=Known((64, 64), 3, 200),
    list_files=list_files,
)
