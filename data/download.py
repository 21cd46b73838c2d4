"""Get Tiny ImageNet: download (and resume), check, unpack.

    python -m data.download tiny_imagenet            -> datasets/tiny-imagenet-200

The archive comes into <folder>.zip.part, which a broken connection or Ctrl-C leaves there for the next run to go on
with. It is unpacked into a folder with another name and renamed at the end, so a folder with the final name is whole.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from common import files
from common.command import run_command
from common.errors import DataError
from common.progress import progress_bar
from data import layout
from data.unpack import unpack

BLOCK = 1 << 16  # bytes read at once
TIMEOUT = 30.0  # seconds without a byte from the server
ATTEMPTS = 5  # connections in a row that bring nothing
PAUSE = 2.0  # seconds before the next attempt, twice as long each time


# All but HTTPException are OSErrors, and so is a full disk, which must not be mistaken for a broken connection.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class Archive(NamedTuple):
    url: str
    size: int  # bytes
    md5: str
    folder: str  # the one folder at its top, and the name of the data set


ARCHIVES = {
    "tiny_imagenet": Archive(
        url="https://cs231n.stanford.edu/tiny-imagenet-200.zip",
        size=248_100_043,
        md5="90528d7ca1a48142e341f4ef8d21d0de",
        folder="tiny-imagenet-200",
    )
}


def download(archive: Archive, to: Path, quiet: bool = False, pause: float = PAUSE) -> Path:
    """Bring the data set to the folder `to`/<name> and return that path; at once where it is already there.

    An archive that someone put at `to`/<name>.zip is taken instead of downloading. Raises DataError.
    """
    target = to / archive.folder
    if _is_there(target):
        return target
    own, part = to / f"{archive.folder}.zip", to / f"{archive.folder}.zip.part"
    try:
        to.mkdir(parents=True, exist_ok=True)
        with files.locked(to / f".{archive.folder}.lock", f"{target}: waiting for another download of it"):
            if not _is_there(target):  # while waiting for another download
                source = own if own.exists() else part
                if source == part:
                    _fetch(archive, part, quiet, pause)
                _check_sum(archive, source, ours=source == part)
                _unpack_whole(source, target, quiet)
                part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: cannot be written: {files.reason(error)}. "
            "Make room, or name another folder with --to; what is already downloaded is kept."
        ) from error
    return target


def _is_there(target: Path) -> bool:
    """Whether the data set is whole; raises DataError where there is half of one."""
    if not target.exists():
        return False
    try:
        layout.listing(layout.scan(target))
    except DataError as error:
        raise DataError(
            f"{target}: exists but is not whole. Move it away and run this command again. ({error})"
        ) from error
    return True


def _unpack_whole(source: Path, target: Path, quiet: bool) -> None:
    files.remove_stale_partials(target)
    with files.partial_folder(target) as partial:
        unpack(source, partial, top=target.name, quiet=quiet)
        layout.listing(layout.scan(partial / target.name))
        if hasattr(os, "sync"):
            os.sync()  # once for all: 120,000 files, each with its own fsync, would take minutes
        (partial / target.name).rename(target)
    files.fsync_path(target.parent)


def _check_sum(archive: Archive, path: Path, ours: bool) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = path.stat().st_size
    if (found, size) == (archive.md5, archive.size):
        return
    if ours:
        path.unlink()
    advice = (
        "The file is removed: run the command again to download it afresh. If that fails in the same way, the server's "
        f"file has changed: get the original elsewhere and put it at {path.with_suffix('')}, or use --url."
        if ours
        else "Remove the file, then run the command again to download it."
    )
    raise DataError(
        f"{path}: not the archive that was expected: md5 {found} and {size} bytes, "
        f"instead of {archive.md5} and {archive.size}. {advice}"
    )


def _fetch(archive: Archive, part: Path, quiet: bool, pause: float) -> None:
    """Download what is missing of the archive, over as many connections as it takes."""
    failures, trouble = 0, ""
    with progress_bar(archive.size, "Downloading", "B", quiet) as bar:
        while (have := _size(part)) != archive.size:
            if have > archive.size:
                part.unlink()  # of something else; nothing in it can be trusted
                continue
            if failures >= ATTEMPTS:
                raise DataError(
                    f"{archive.url}: broke off after {have:,} of {archive.size:,} bytes ({trouble}). "
                    "Check the connection and run the same command again: it goes on from there."
                )
            if failures:
                time.sleep(pause * 2 ** (failures - 1))
            _require_room(part, archive.size - have)
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


def _require_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataError(
            f"{path.parent}: the disk is too full: {needed / 1e6:,.0f} MB more are needed and {free / 1e6:,.0f} MB are "
            "free. Make room, or name another folder with --to."
        )


def _receive(archive: Archive, part: Path, have: int, bar: tqdm[Any]) -> None:
    """One connection: append to `part` what the server sends, beginning at byte `have` if it will.

    A connection that ends early raises nothing here: the file is then merely too short.
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
            part.unlink()  # the server's file ends before ours does
            return
        if error.code >= 500 or error.code in (408, 429):
            raise  # may pass; tried again
        raise DataError(
            f"{archive.url}: the server answers {error.code} {error.reason}. If the file has moved, give its new "
            "address with --url."
        ) from error
    with response:
        start = _start_of(response, have, archive, part)
        offered = response.headers.get("Content-Length")
        if offered is not None and start + int(offered) != archive.size:
            raise DataError(
                f"{archive.url}: the server's file has {start + int(offered):,} bytes, not {archive.size:,}: "
                "it is another one. Find the original and give its address with --url."
            )
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            bar.n = start
            _copy(response, file, archive.size - start, bar)


def _start_of(response: http.client.HTTPResponse, have: int, archive: Archive, part: Path) -> int:
    """The position in the archive of the first byte of the answer: `have`, or 0 from a server that ignores Range."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    sent = response.headers.get("Content-Range", "")
    if not sent.startswith(f"bytes {have}-"):
        raise DataError(
            f"{archive.url}: the server answers with another part of the file ({sent!r}) than from byte {have:,}. "
            f"Remove {part} and run the command again, or use another server with --url."
        )
    return have


def _copy(response: http.client.HTTPResponse, file: BinaryIO, most: int, bar: tqdm[Any]) -> None:
    while most > 0 and (block := response.read(min(BLOCK, most))):
        file.write(block)
        most -= len(block)
        bar.update(len(block))


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m data.download", description="Download a data set.")
    parser.add_argument("dataset", choices=sorted(ARCHIVES), help="what to download")
    parser.add_argument("--to", default="datasets", type=Path, metavar="DIR", help="parent folder (%(default)s)")
    parser.add_argument("--url", help="another server that has the same archive")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    archive = ARCHIVES[options.dataset]
    if options.url:
        archive = archive._replace(url=options.url)
    target = options.to / archive.folder
    was_there = target.exists()
    download(archive, options.to)
    print(f"{target}: {'already there, nothing to do' if was_there else 'ready'}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
