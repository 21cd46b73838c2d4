"""Unpack an untrusted archive, zip or tar.gz: nothing outside the target folder, no links, no bombs."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from common.errors import DamagedError, DataError
from common.progress import progress_bar
from data.arrays import Member, open_zip
from data.gzipped import MAGIC, Tar, open_tar

MAX_FILES = 200_000  # Tiny ImageNet has about 120,000
MAX_BYTES = 1_000_000_000  # unpacked; Tiny ImageNet has about 250 million
HEADERS = 2048  # bytes that a tar archive takes for an entry, at most, besides its content


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class Entry(NamedTuple):
    """A file or folder in an archive."""

    name: str
    size: int  # bytes; of a folder 0
    is_folder: bool
    fault: str  # of this kind of entry; empty: none
    open: Callable[[], Readable]


def unpack(source: Path, folder: Path, top: str, quiet: bool = False) -> None:
    """Unpack the archive `source` into `folder`. All of its entries must lie below `top`/.

    Names and sizes are checked before the first file is written. Raises DataError, naming the entry.
    """
    with open(source, "rb") as file:
        is_tar = file.read(len(MAGIC)) == MAGIC
    try:
        with _tar_entries(source) if is_tar else _zip_entries(source) as entries:
            _check_entries(source, entries, top, folder)
            with progress_bar(len(entries), "Unpacking", " files", quiet) as bar:
                for entry in entries:
                    _unpack_entry(entry, folder)
                    bar.update()
    except DamagedError as error:
        what = str(error).removeprefix(f"{source}: ")
        kind = "tar.gz" if is_tar else "zip"
        raise DataError(f"{source}: not an intact {kind} file ({what}). Remove it and download it again.") from error


@contextmanager
def _zip_entries(source: Path) -> Iterator[list[Entry]]:
    with open_zip(source) as archive:
        # The sizes are an upper bound on what is written: zipfile stops there.
        yield [
            Entry(
                info.filename,
                info.file_size,
                info.is_dir(),
                _zip_fault(info),
                lambda info=info: Member(archive, info, str(source)),  # type: ignore[misc]
            )
            for info in archive.infolist()
        ]


def _zip_fault(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    return "is encrypted" if info.flag_bits & 1 else ""


@contextmanager
def _tar_entries(source: Path) -> Iterator[list[Entry]]:
    with open_tar(source, MAX_BYTES + HEADERS * MAX_FILES) as archive:
        yield [_tar_entry(archive, info) for info in archive.members(MAX_FILES)]


def _tar_entry(archive: Tar, info: tarfile.TarInfo) -> Entry:
    is_file = info.isreg() and not info.issparse()
    fault = "" if is_file or info.isdir() else "is a link or a device, not a file"
    return Entry(info.name, info.size if is_file else 0, info.isdir(), fault, lambda: archive.open(info))


def _unpack_entry(entry: Entry, folder: Path) -> None:
    path = folder.joinpath(*PurePosixPath(entry.name).parts)
    if entry.is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        shutil.copyfileobj(entry.open(), file)


def _check_entries(source: Path, entries: Sequence[Entry], top: str, folder: Path) -> None:
    size = sum(entry.size for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES:
        raise DataError(
            f"{source}: would unpack to {len(entries):,} files of {size:,} bytes, more than the data set "
            "can have. Get the archive from elsewhere."
        )
    seen: set[PurePosixPath] = set()
    files = {PurePosixPath(entry.name) for entry in entries if not entry.is_folder}
    for entry in entries:
        problem = _problem(entry, top, seen, files)
        if problem:
            raise DataError(f"{source}: refused: its entry {entry.name!r} {problem}. Get the archive from elsewhere.")
        seen.add(PurePosixPath(entry.name))
    free = shutil.disk_usage(folder).free
    needed = size + 4096 * len(entries)  # the last block of each file is partly used
    if free < needed:
        raise DataError(
            f"{folder.parent}: the disk is too full to unpack: {needed / 1e6:,.0f} MB are needed and "
            f"{free / 1e6:,.0f} MB are free. Free some space, then run the command again; the download is kept."
        )


def _problem(entry: Entry, top: str, seen: set[PurePosixPath], files: set[PurePosixPath]) -> str:
    """What is wrong with the entry; empty if nothing is."""
    path = PurePosixPath(entry.name)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.name or ":" in entry.name:
        return "points outside the folder"
    if not path.parts or path.parts[0] != top:
        return f"is not below {top}/"
    if entry.fault:
        return entry.fault
    if path in seen:
        return "occurs twice"
    if any(parent in files for parent in path.parents):
        return "lies below a file"
    return ""
