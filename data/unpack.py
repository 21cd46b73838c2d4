"""Unpack an untrusted zip file: nothing outside the target folder, no links, no zip bombs."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from common.errors import DamagedError, DataError
from common.progress import progress_bar
from data.arrays import Member, open_zip

MAX_FILES = 200_000  # Tiny ImageNet has about 120,000
MAX_BYTES = 1_000_000_000  # unpacked; Tiny ImageNet has about 250 million


def unpack(source: Path, folder: Path, top: str, quiet: bool = False) -> None:
    """Unpack the zip file `source` into `folder`. All of its entries must lie below `top`/.

    Names and sizes are checked before the first file is written. Raises DataError, naming the entry.
    """
    try:
        with open_zip(source) as archive:
            entries = archive.infolist()
            _check_entries(source, entries, top, folder)
            with progress_bar(len(entries), "Unpacking", " files", quiet) as bar:
                for entry in entries:
                    _unpack_entry(source, archive, entry, folder)
                    bar.update()
    except DamagedError as error:
        what = str(error).removeprefix(f"{source}: ")
        raise DataError(f"{source}: not an intact zip file ({what}). Remove it and download it again.") from error


def _unpack_entry(source: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = folder.joinpath(*PurePosixPath(entry.filename).parts)
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        shutil.copyfileobj(Member(archive, entry, str(source)), file)


def _check_entries(source: Path, entries: list[zipfile.ZipInfo], top: str, folder: Path) -> None:
    size = sum(entry.file_size for entry in entries)  # an upper bound on what is written: zipfile stops at these sizes
    if len(entries) > MAX_FILES or size > MAX_BYTES:
        raise DataError(
            f"{source}: would unpack to {len(entries):,} files of {size:,} bytes, more than the data set "
            "can have. Get the archive from elsewhere."
        )
    seen: set[str] = set()
    for entry in entries:
        problem = _problem(entry, top, seen)
        if problem:
            raise DataError(
                f"{source}: refused: its entry {entry.filename!r} {problem}. Get the archive from elsewhere."
            )
        seen.add(entry.filename)
    free = shutil.disk_usage(folder).free
    needed = size + 4096 * len(entries)  # the last block of each file is partly used
    if free < needed:
        raise DataError(
            f"{folder.parent}: the disk is too full to unpack: {needed / 1e6:,.0f} MB are needed and "
            f"{free / 1e6:,.0f} MB are free. Free some space, then run the command again; the download is kept."
        )


def _problem(entry: zipfile.ZipInfo, top: str, seen: set[str]) -> str:
    """What is wrong with the entry; empty if nothing is."""
    path = PurePosixPath(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was not made on Unix
    if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
        return "points outside the folder"
    if not path.parts or path.parts[0] != top:
        return f"is not below {top}/"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.filename in seen:
        return "occurs twice"
    return ""
