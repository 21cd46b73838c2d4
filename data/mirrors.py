"""Fetch a file from the first of several servers that delivers it, and verify its checksum."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from common.errors import DataError
from data.fetch import ATTEMPTS, ServerError, fetch
from data.source import WebFile

FEWER_ATTEMPTS = 2  # connections without a byte, where another server is left


class WrongFileError(ServerError):
    """What was downloaded is another file."""


def fetch_verified(file: WebFile, part: Path, quiet: bool, pause: float) -> None:
    """Download the missing bytes of `part`. Each failure of a server is told in one line, and the next one is tried.

    Raises DataError: that of the last server.
    """
    for number, url in enumerate(file.urls, 1):
        try:
            _fetch_from(url, file, part, quiet, pause, ATTEMPTS if number == len(file.urls) else FEWER_ATTEMPTS)
            return
        except ServerError as error:
            if number == len(file.urls):
                raise
            print(f"{error.what}; next: {file.urls[number]}", file=sys.stderr, flush=True)


def _fetch_from(url: str, file: WebFile, part: Path, quiet: bool, pause: float, attempts: int) -> None:
    """The file from one server. What it continues may be of another file: then it is fetched once more, from 0."""
    continues = part.exists()
    fetch(url, file.size, part, quiet, pause, attempts)
    try:
        _verify_downloaded(url, file, part)
    except WrongFileError:
        if not continues:
            raise
        fetch(url, file.size, part, quiet, pause, attempts)
        _verify_downloaded(url, file, part)


def _verify_downloaded(url: str, file: WebFile, part: Path) -> None:
    """Raises WrongFileError unless the file is the right one, and removes it then."""
    problem = _problem(file, part)
    if problem:
        part.unlink()
        raise WrongFileError(
            f"{url}: {problem}",
            "It has been removed: run the command again to download it. If that fails in the same way, the file on the "
            f"server has changed: get the original elsewhere and put it at {part.with_suffix('')}, or use --url.",
        )


def verify(file: WebFile, path: Path) -> None:
    """Raises DataError unless the file that the user has put at `path` is the right one."""
    problem = _problem(file, path)
    if problem:
        raise DataError(f"{path}: {problem}. Remove the file, then run the command again to download it.")


def _problem(file: WebFile, path: Path) -> str:
    with open(path, "rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    size = path.stat().st_size
    if (found, size) == (file.md5, file.size):
        return ""
    return f"not the expected file: md5 {found} and {size:,} bytes, instead of {file.md5} and {file.size:,}"
