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
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from tqdm import tqdm

from common import files
from common.command import run_command
from common.errors import DataError
from common.paths import named_path
from common.progress import progress_bar
from data.registry import SOURCES
from data.source import Archive
from data.unpack import unpack

BLOCK = 1 << 16  # bytes read at once
TIMEOUT = 30.0  # seconds without a byte from the server
ATTEMPTS = 5  # consecutive connections without a byte before giving up
PAUSE = 2.0  # seconds before the second attempt; doubled before each further one


# Not OSError, the base class of all but HTTPException: a full disk must not be mistaken for a broken connection.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def download(archive: Archive, to: Path, quiet: bool = False, pause: float = PAUSE) -> Path:
    """Download the data set to the folder `to`/<archive.folder>, unless it is there already; returns that path.

    A file `to`/<archive.folder>.zip, put there by the user, is used instead of downloading. `pause` is the time before
    the second connection, in seconds. Raises DataError.
    """
    target = to / archive.folder
    if _is_complete(target, archive):
        return target
    provided, part = to / f"{archive.folder}.zip", to / f"{archive.folder}.zip.part"
    try:
        to.mkdir(parents=True, exist_ok=True)
        with files.locked(to / f".{archive.folder}.lock", f"{target}: waiting for another download of it"):
            if not _is_complete(target, archive):  # another process may have finished it meanwhile
                source = provided if provided.exists() else part
                if source == part:
                    _fetch(archive, part, quiet, pause)
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


def _fetch(archive: Archive, part: Path, quiet: bool, pause: float) -> None:
    """Download the missing bytes of the archive, reconnecting as often as necessary."""
    failures, trouble = 0, ""
    with progress_bar(archive.size, "Downloading", "B", quiet) as bar:
        while (have := _size(part)) != archive.size:
            if have > archive.size:
                part.unlink()  # the rest of another file: start again
                continue
            if failures >= ATTEMPTS:
                raise DataError(
                    f"{archive.url}: broken off after {have:,} of {archive.size:,} bytes ({trouble}). "
                    "Check your network and run the same command again: the download continues from there."
                )
            if failures:
                time.sleep(pause * 2 ** (failures - 1))
            _require_space(part, archive.size - have)
            try:
                _receive(archive, part, have, bar)
                trouble = "the server closed the connection"
            except NETWORK_ERRORS as error:
                trouble = str(getattr(error, "reason", error)) or type(error).__name__
            failures = 0 if _size(part) > have else failures + 1
        bar.n = archive.size
        bar.refresh()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataError(
            f"{path.parent}: the disk is too full: {needed / 1e6:,.0f} MB more are needed and {free / 1e6:,.0f} MB are "
            "free. Free some space, or name another folder with --to."
        )


def _receive(archive: Archive, part: Path, have: int, bar: tqdm[Any]) -> None:
    """Append to `part` what one connection delivers, from byte `have` if the server supports ranges, else from 0.

    A connection that the server closes early raises nothing: the file is then too short, and the caller goes on.
    """
    try:
        request = urllib.request.Request(archive.url, headers={"User-Agent": "python", "Accept-Encoding": "identity"})
    except ValueError as error:
        raise DataError(f"{archive.url}: not a web address; --url wants one like https://host/file.zip.") from error
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # longer than the file on the server
            return
        if error.code >= 500 or error.code in (408, 429):
            raise  # temporary; the caller tries again
        raise DataError(
            f"{archive.url}: the server answers {error.code} {error.reason}. If the file has moved, give its new "
            "address with --url."
        ) from error
    with response:
        start = _first_byte(response, have, archive, part)
        offered = response.headers.get("Content-Length")
        if offered is not None and start + int(offered) != archive.size:
            raise DataError(
                f"{archive.url}: the server's file has {start + int(offered):,} bytes, not {archive.size:,}: "
                "it is a different file. Find the original and give its address with --url."
            )
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            bar.n = start
            _copy(response, file, archive.size - start, bar)


def _first_byte(response: http.client.HTTPResponse, have: int, archive: Archive, part: Path) -> int:
    """Where in the archive the response starts: at `have`, or at 0 if the server ignores Range."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    sent = response.headers.get("Content-Range", "")
    if not sent.startswith(f"bytes {have}-"):
        raise DataError(
            f"{archive.url}: the server sent another part of the file ({sent!r}), not that from byte {have:,} on. "
            f"Remove {part} and run the command again, or use another server with --url."
        )
    return have


def _copy(response: http.client.HTTPResponse, file: BinaryIO, limit: int, bar: tqdm[Any]) -> None:
    """Copy at most `limit` bytes."""
    while limit > 0 and (block := response.read(min(BLOCK, limit))):
        file.write(block)
        limit -= len(block)
        bar.update(len(block))


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
    target = options.to / archive.folder
    was_there = target.exists()
    download(archive, options.to)
    print(f"{target}: {'already there, nothing to do' if was_there else 'ready'}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
