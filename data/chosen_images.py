"""The images that a user names on the command line: files, folders, patterns, standard input; and their pixels.

A folder, or a pattern such as `photos/*`, stands for the images in it, known by the ends of their names. Other
files there are left alone and counted. A file that is named by itself is opened whatever its name.
"""

from __future__ import annotations

import glob
import os
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from common import files
from common.errors import DataError
from common.paths import named_path
from common.text import counted
from data.decode import BrokenImageError, decode
from data.folder_scan import IGNORED
from data.form import Target
from data.pictures import suffixes

STANDARD_INPUT = "-"
LARGEST = 2**30  # bytes of a file; no image is larger, but a device never ends
BLOCK = 2**20  # bytes that are read at once
AHEAD = 128  # images that are decoded before they are asked for


class Chosen(NamedTuple):
    names: list[str]  # paths of files, or STANDARD_INPUT; none twice
    left_alone: Counter[str]  # files that are no images, by the ends of their names
    unread: list[tuple[str, str]]  # folders that cannot be read, and why


class ReadImage(NamedTuple):
    name: str
    pixels: np.ndarray | None  # uint8 (H, W, C); None: it cannot be read
    problem: str  # why, in words; "" if it was read


def choose_images(arguments: Sequence[str]) -> Chosen:
    """The images that these arguments name, folders and patterns in the order of their names.

    Raises DataError where one names nothing, or where no image is left; and for STANDARD_INPUT where it is a terminal.
    """
    names: dict[str, None] = {}  # a set that keeps the order
    left_alone: Counter[str] = Counter()
    unread: list[tuple[str, str]] = []
    for argument in arguments:
        if argument == STANDARD_INPUT:
            if sys.stdin is None or sys.stdin.isatty():
                raise DataError("-: an image is expected on standard input, as in `python predict.py - < photo.jpg`")
            names[argument] = None
            continue
        path = named_path(argument)
        if path.is_dir():
            names |= dict.fromkeys(_images_below(path, left_alone, unread))
        elif os.path.lexists(path):  # so that a link to nothing is told of like any file that cannot be read
            names[str(path)] = None
        else:
            names |= dict.fromkeys(_matching(argument, str(path), left_alone, unread))
    if not names:
        more = f", but {counted(sum(left_alone.values()), 'other file')}" if left_alone else ""
        hint = f" ({unread[0][0]}: {unread[0][1]})" if unread else ""
        raise DataError(f"{' '.join(arguments)}: no images here{more}{hint}")
    return Chosen(list(names), left_alone, unread)


def _matching(argument: str, pattern: str, left_alone: Counter[str], unread: list[tuple[str, str]]) -> Iterator[str]:
    if not glob.has_magic(pattern):
        raise DataError(f"{argument}: there is no such file or folder")
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise DataError(f"{argument}: no file or folder has a name like this")
    for name in found:
        if os.path.isdir(name):
            yield from _images_below(Path(name), left_alone, unread)
        elif _is_image(name, left_alone):
            yield name


def _images_below(folder: Path, left_alone: Counter[str], unread: list[tuple[str, str]]) -> list[str]:
    """The images in a folder and in those below it, each folder once, also where a link leads back to it."""
    names: list[str] = []
    seen: set[str] = set()

    def note(error: OSError) -> None:
        unread.append((str(error.filename), f"cannot be read: {files.reason(error)}"))

    for place, inside, entries in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside[:] = [name for name in inside if not name.startswith(".") and name.casefold() not in IGNORED]
        names += [os.path.join(place, name) for name in entries if _is_image(name, left_alone)]
    return sorted(names)


def _is_image(name: str, left_alone: Counter[str]) -> bool:
    """Whether a file has the name of an image; otherwise it is counted."""
    last = os.path.basename(name)
    suffix = os.path.splitext(last)[1].lower()
    if suffix in suffixes() and not last.startswith("."):
        return True
    left_alone[suffix or last] += 1
    return False


def read_images(names: Sequence[str], target: Target, threads: int) -> Iterator[ReadImage]:
    """Read and decode the images, in order, each brought to `target`; threads decode up to AHEAD images in advance.

    Threads, not the processes of data/workers.py: their start takes as long as the decoding of some hundred images, and
    what computes meanwhile needs the cores itself.
    """
    # For all of them: `warnings` belongs to the process, not to a thread, so each restoring it would mix them up.
    with warnings.catch_warnings(action="ignore"):
        pool = ThreadPoolExecutor(threads)
        try:
            rest = iter(names)
            waiting = deque(pool.submit(read_image, name, target) for name in islice(rest, AHEAD))
            while waiting:
                read = waiting.popleft().result()
                waiting.extend(pool.submit(read_image, name, target) for name in islice(rest, 1))
                yield read
        finally:
            pool.shutdown(cancel_futures=True)


def read_image(name: str, target: Target) -> ReadImage:
    """Read and decode one image. Whatever is wrong with it is a `problem`, and never raised."""
    try:
        if name == STANDARD_INPUT:
            content = _content(sys.stdin.buffer)
        else:
            with open(name, "rb") as file:
                content = _content(file)
        if not content:
            return ReadImage(name, None, "empty")
        if len(content) > LARGEST:
            return ReadImage(name, None, f"more than {LARGEST:,} bytes, which is too large for an image")
        return ReadImage(name, decode(content, Path(name), target)[0], "")
    except BrokenImageError as error:
        return ReadImage(name, None, error.reason)
    except OSError as error:
        return ReadImage(name, None, f"cannot be read: {files.reason(error)}")


def _content(file: BinaryIO) -> bytes:
    """All of the file, or a little more than LARGEST bytes of it."""
    content = bytearray()
    while len(content) <= LARGEST and (block := file.read(BLOCK)):
        content += block
    return bytes(content)
