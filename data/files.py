"""Files that are either whole or absent: build aside, flush to disk, rename; and locks that die with their holder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows: no lock; unique temporary names still keep two builds apart
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial-"  # marks a folder under construction: <name>.partial-<random>


def default_workers() -> int:
    """The number of cores this process may use (not the number the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress(total: int, what: str, unit: str, quiet: bool) -> tqdm[Any]:
    """A progress bar on stderr, which in a log file moves on every ten seconds only."""
    every = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=what, unit=unit, unit_scale=unit == "B", mininterval=every, disable=quiet)


def fsync_path(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, busy: str = "") -> Iterator[bool]:
    """Hold an exclusive lock on the file `path`, waiting for it if need be (and printing `busy`, if given).

    Yields True where the lock is real, False where the system has none to give. The kernel frees it when the
    process dies, even by kill -9, so it never has to be removed by hand.
    """
    with open(path, "ab") as file:
        held = False
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if busy:
                        print(busy, file=sys.stderr, flush=True)
                    fcntl.flock(file, fcntl.LOCK_EX)
                held = True
        yield held


@contextlib.contextmanager
def partial_folder(final: Path) -> Iterator[Path]:
    """A fresh folder next to `final`, to be filled and then renamed to it; removed again unless it was renamed."""
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=final.name + PARTIAL, dir=final.parent))
    try:
        folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private; the result shall be as readable as any folder
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale_partials(final: Path) -> None:
    """Remove what dead builds of `final` left behind; to be called under the lock that every build of it takes."""
    for folder in final.parent.glob(final.name + PARTIAL + "*"):
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def reason(error: OSError) -> str:
    """What the system said, without Python's [Errno 28] in front."""
    return error.strerror or str(error)
