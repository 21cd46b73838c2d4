"""Download a data set of the registry: fetch the archive, or the rest of it, check it and unpack it.

    python -m data.download tiny_imagenet            -> datasets/tiny-imagenet-200

The archive is written to <folder>.zip.part. A broken connection or Ctrl-C leaves that file in place, and the next run
continues from there. It is unpacked into a temporary folder, which is then renamed: a folder with the final name is
complete.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from common import files
from common.command import run_command
from common.errors import DataError
from common.paths import named_path
from data.fetch import PAUSE, fetch
from data.registry import SOURCES
from data.source import Archive
from data.unpack import unpack


def download(archive: Archive, to: Path, quiet: bool = False, pause: float = PAUSE) -> Path:
    """Download the data set to the folder `to`/<archive.folder>, unless it is there already; returns that path.

    A file `to`/<archive.folder>.zip, put there by the user, is used instead of downloading. `pause` is the time before
    the second connection, in seconds. Raises DataError.
    """
    target = to / archive.folder
    provided, part = to / f"{archive.folder}.zip", to / f"{archive.folder}.zip.part"
    try:
        if _is_complete(target, archive):
            return target
        to.mkdir(parents=True, exist_ok=True)
        with files.locked(to / f".{archive.folder}.lock", f"{target}: waiting for another download of it"):
            if not _is_complete(target, archive):  # another process may have finished it meanwhile
                source = provided if provided.exists() else part
                if source == part:
                    fetch(archive, part, quiet, pause)
                _verify(archive, source, downloaded=source == part)
                _unpack_into_place(archive, source, target, quiet)
                part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: cannot be written: {files.reason(error)}. "
            "Free some space, or name another folder with --to; what is already downloaded is kept."
        ) from error
    return target


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
        if hasattr(os, "sync"):
            os.sync()  # once: an fsync for each of 120,000 files would take minutes
        (partial / target.name).rename(target)
    files.fsync_path(target.parent)


def _verify(archive: Archive, path: Path, downloaded: bool) -> None:
    """Raises DataError unless the file is the archive. A wrong file is removed if this program downloaded it."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = path.stat().st_size
    if (found, size) == (archive.md5, archive.size):
        return
    if downloaded:
        path.unlink()
    advice = (
        "It has been removed: run the command again to download it. If that fails in the same way, the file on the "
        f"server has changed: get the original elsewhere and put it at {path.with_suffix('')}, or use --url."
        if downloaded
        else "Remove the file, then run the command again to download it."
    )
    raise DataError(
        f"{path}: not the expected archive: md5 {found} and {size} bytes, "
        f"instead of {archive.md5} and {archive.size}. {advice}"
    )


def _no_archive(name: str, archives: Mapping[str, Archive]) -> NoReturn:
    if name in SOURCES:
        raise DataError(f"{name}: nothing to download: `python train.py data.name={name}` makes it")
    near = difflib.get_close_matches(name, archives, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(sorted(archives))}"
    raise DataError(f"{name}: no data set of this name can be downloaded; {hint}")


def main(argv: Sequence[str]) -> int:
    archives = {name: source.archive for name, source in SOURCES.items() if source.archive is not None}
    parser = argparse.ArgumentParser(prog="python -m data.download", description="Download a data set.")
    parser.add_argument("dataset", help=f"what to download: {', '.join(sorted(archives))}")
    parser.add_argument("--to", default="datasets", type=named_path, metavar="DIR", help="parent folder (%(default)s)")
    parser.add_argument("--url", help="another address of the same archive")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    archive = archives.get(options.dataset) or _no_archive(options.dataset, archives)
    if options.url:
        archive = archive._replace(url=options.url)
    was_there = os.path.exists(options.to / archive.folder)  # unlike Path.exists, no error for a name that cannot be
    target = download(archive, options.to)
    print(f"{target}: {'already there, nothing to do' if was_there else 'ready'}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
