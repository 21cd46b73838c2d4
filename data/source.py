"""What the program has to know about a data set in order to find, download, generate and load it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from data.dataset import Dataset, Listing
from data.form import Form


class Load(Protocol):
    """Opens the data set in a folder.

    `cache` is the folder for decoded images (None: `<root>/cache`), `workers` the number of processes that decode
    (None: one per core); `quiet` turns progress bars off; `form` is what the images are brought to. Raises DataError
    where the data set is missing, incomplete or damaged; the message says how to get it.
    """

    def __call__(
        self,
        root: Path,
        cache: Path | None = None,
        workers: int | None = None,
        quiet: bool = False,
        form: Form = Form(),
    ) -> Dataset: ...


class Generate(Protocol):
    """Creates the data set in a missing or empty folder. Raises DataError where the folder cannot be written."""

    def __call__(self, root: Path, *, workers: int | None, quiet: bool) -> None: ...


class WebFile(NamedTuple):
    """A file to download."""

    name: str  # on the disk
    urls: tuple[str, ...]  # addresses of the same file, tried in this order
    size: int  # bytes
    md5: str


class Archive(NamedTuple):
    """A data set that is downloaded as an archive and unpacked."""

    file: WebFile  # .zip or .tar.gz
    folder: str  # the only folder at its top level; also the name of the data set's folder
    check: Callable[[Path], object]  # raises DataError if the unpacked folder is not a complete data set
    words: str = ""  # the words.txt that is put there: lines of class folder, tab, name


class Files(NamedTuple):
    """A data set that is downloaded as several files, which stay as they are."""

    files: tuple[WebFile, ...]
    folder: str  # for them
    check: Callable[[Path], object]  # raises DataError if the folder is not a complete data set


class Known(NamedTuple):
    """What a complete data set has, for use before it is there."""

    size: tuple[int, int]  # height and width of its images, in pixels
    channels: int
    classes: int


class Source(NamedTuple):
    """A data set that `data.name` can select.

    Attributes:
        folder: where the data set lies unless `data.root` says otherwise, relative to the current folder.
        load: opens it.
        generate: creates it, for a data set that needs no download. `python -m data.<name> --to DIR` does the same.
        download: what `python -m data.download <name>` fetches, if anything.
        known: its images and classes, where these are always the same.
        split_by_content: images are held out by the content of their files, and where there are none for validation,
            a tenth of them is (data/holdout.py).
        validated_on: of data with several folders to validate on: `load` for one of them, by its name.
        list_files: of data that are files of images: these, with their labels. Raises DataError, as `load` does.
        in_memory: it is read as a whole, so there is no cache, and no broken image to leave out.
    """

    folder: str
    load: Load
    generate: Generate | None = None
    download: Archive | Files | None = None
    known: Known | None = None
    split_by_content: bool = False
    validated_on: Callable[[str], Load] | None = None
    list_files: Callable[[Path], Listing] | None = None
    in_memory: bool = False
