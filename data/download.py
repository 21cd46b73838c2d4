"""Download a data set of the registry: fetch its files, or the rest of them, check them and unpack them.

    python -m data.download tiny_imagenet            -> datasets/tiny-imagenet-200
    python -m data.download mnist                    -> datasets/mnist

A file is written to <name>.part. A broken connection or Ctrl-C leaves that in place, and the next run continues from
there. An archive is unpacked into a temporary folder, which is then renamed: a folder with the final name is complete.
The files of MNIST stay as they are, and each gets its name when it is complete; the next run fetches those that miss.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from common import files
from common.command import run_command
from common.errors import DataError
from common.paths import named_path
from data.fetch import PAUSE
from data.mirrors import fetch_verified, verify
from data.registry import FOLDERS, SOURCES
from data.source import Archive, Files, WebFile
from data.unpack import unpack


def download(wanted: Archive | Files, to: Path, quiet: bool = False, pause: float = PAUSE) -> Path:
    """Download the data set to the folder `to`/<wanted.folder>, unless it is there already; returns that path.

    Files that the user has put there are used instead of downloading: an archive under its published name in `to`,
    other files in the folder of the data set. `pause` is the time before the second connection, in seconds.

    Raises DataError.
    """
    target = to / wanted.folder
    try:
        if isinstance(wanted, Archive):
            if not _is_complete(target, wanted):
                _download_archive(wanted, target, quiet, pause)
        else:
            if _missing(wanted, target):
                _download_files(wanted, target, quiet, pause)
            wanted.check(target)
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: cannot be written: {files.reason(error)}. "
            "Free some space, or name another folder with --to; what is already downloaded is kept."
        ) from error
    return target


def _download_archive(wanted: Archive, target: Path, quiet: bool, pause: float) -> None:
    to = target.parent
    provided, part = to / wanted.file.name, to / f"{wanted.file.name}.part"
    to.mkdir(parents=True, exist_ok=True)
    with files.locked(to / f".{wanted.folder}.lock", f"{target}: waiting for another download of it"):
        if not _is_complete(target, wanted):  # another process may have finished it meanwhile
            if provided.exists():
                verify(wanted.file, provided)
            else:
                fetch_verified(wanted.file, part, quiet, pause)
            _unpack_into_place(wanted, provided if provided.exists() else part, target, quiet)
            part.unlink(missing_ok=True)


def _download_files(wanted: Files, target: Path, quiet: bool, pause: float) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with files.locked(target.parent / f".{wanted.folder}.lock", f"{target}: waiting for another download of it"):
        for file in _missing(wanted, target):
            part = target / f"{file.name}.part"
            fetch_verified(file, part, quiet, pause)
            part.rename(target / file.name)
            files.fsync_path(target)


def _missing(wanted: Files, target: Path) -> list[WebFile]:
    """The files that are not there, not even unpacked."""
    return [
        file
        for file in wanted.files
        if not any((target / name).exists() for name in (file.name, file.name.removesuffix(".gz")))
    ]


def _is_complete(target: Path, archive: Archive) -> bool:
    """Whether the data set is there; raises DataError where it is incomplete."""
    if not target.exists():
        return False
    try:
        archive.check(target)
    except DataError as error:
        raise DataError(
            f"{target}: exists but is incomplete. Move it away and run this command again. ({error})"
        ) from error
    return True


def _unpack_into_place(archive: Archive, source: Path, target: Path, quiet: bool) -> None:
    files.remove_stale_partials(target)
    with files.partial_folder(target) as partial:
        unpack(source, partial, top=target.name, quiet=quiet)
        archive.check(partial / target.name)
        if archive.words:
            files.replace_text(partial / target.name / "words.txt", archive.words)
        if hasattr(os, "sync"):
            os.sync()  # once: an fsync for each of 120,000 files would take minutes
        (partial / target.name).rename(target)
    files.fsync_path(target.parent)


def _at(wanted: Archive | Files, url: str) -> Archive | Files:
    """The same data set at another address: that of the archive, or of the folder that has the files."""
    if isinstance(wanted, Archive):
        return wanted._replace(file=wanted.file._replace(urls=(url,)))
    base = url if url.endswith("/") else f"{url}/"
    return wanted._replace(files=tuple(file._replace(urls=(base + file.name,)) for file in wanted.files))


def _is_there(wanted: Archive | Files, target: Path) -> bool:
    if not os.path.exists(target):  # unlike Path.exists, no error for a name that cannot be
        return False
    return isinstance(wanted, Archive) or not _missing(wanted, target)


def _none_of_this_name(name: str, downloads: Mapping[str, Archive | Files]) -> NoReturn:
    if name in SOURCES:
        own = "name your own folder with data.root=DIR"
        made = f"`python train.py data.name={name}` makes it"
        raise DataError(f"{name}: nothing to download: {made if SOURCES[name].generate else own}")
    near = difflib.get_close_matches(name, downloads, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(downloads))}"
    raise DataError(f"{name}: no data set of this name can be downloaded; {hint}")


def main(argv: Sequence[str]) -> int:
    downloads: dict[str, Archive | Files] = {
        **{name: source.download for name, source in SOURCES.items() if source.download is not None},
        **FOLDERS,
    }
    parser = argparse.ArgumentParser(prog="python -m data.download", description="Download a data set.")
    parser.add_argument("dataset", help=f"what to download: {', '.join(sorted(downloads))}")
    parser.add_argument("--to", default="datasets", type=named_path, metavar="DIR", help="parent folder (%(default)s)")
    parser.add_argument("--url", help="another address of the same archive, or of the folder with the same files")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    wanted = downloads.get(options.dataset) or _none_of_this_name(options.dataset, downloads)
    if options.url:
        wanted = _at(wanted, options.url)
    was_there = _is_there(wanted, options.to / wanted.folder)
    target = download(wanted, options.to)
    print(f"{target}: {'already there, nothing to do' if was_there else 'ready'}.")
    if options.dataset in FOLDERS:
        print(f"To train on it: python train.py image_folder data.root={shlex.quote(str(target))}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
