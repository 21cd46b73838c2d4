"""Atomic writes of files and folders, and locks between processes."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from common.filesystems import FOLDERS, UNSUPPORTED, flush, warn_not_flushed, warn_once

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial-"  # in the name of an unfinished folder: <name>.partial-<random>


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file, open for writing, that replaces `path` when the block ends without an error.

    Until then it is `.<name>.tmp` in the same folder. After an error, a full disk or Ctrl-C it is removed, and `path`
    is unchanged. Only a killed process leaves it behind; the next write then overwrites it. Only one process may write
    `path` at a time.

    Raises:
        OSError: the file cannot be written. Its `filename` is `path`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            # Before the rename: otherwise a power failure could leave an empty file under the final name.
            flush(file.fileno(), path)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the error of a failed write names no file
        raise
    fsync_path(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`, or leave it unchanged if that fails."""
    with replacing(path) as file:
        file.write(text.encode())


def fsync_path(path: Path) -> None:
    """Flush a file, or the directory entries of a folder, to the disk; warn where the file system cannot do that."""
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    unsupported = FOLDERS if path.is_dir() else UNSUPPORTED
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in unsupported:
            raise
        warn_not_flushed(path)
        return
    try:
        flush(descriptor, path, unsupported)
    finally:
        os.close(descriptor)


class LockedError(Exception):
    """Another process holds a lock, and `locked` was told not to wait for it."""

    def __init__(self, path: Path, holder: int | None) -> None:
        super().__init__(f"{path}: locked by process {holder or 'unknown'}")
        self.holder = holder  # process id, if the lock file tells it


@contextlib.contextmanager
def locked(path: Path, waiting: str = "", *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on the file `path`, which is created if necessary and contains the holder's process id.

    If another process holds the lock, print the message `waiting`, if there is one, and wait; with `wait=False` raise
    LockedError instead. The kernel releases the lock when the process ends, even by kill -9, so a file that is left
    behind blocks nobody.

    Yields:
        True; or False, after a warning and without a lock, where the operating system or the file system has no locks.

    Raises:
        LockedError: another process holds the lock, and `wait` is False.
        OSError: the file cannot be opened for writing.
    """
    with open(path, "a+b", buffering=0) as file:
        supported = _lock(file, path, waiting, wait)
        if supported:
            with contextlib.suppress(OSError):  # a full disk: the id is for messages only
                file.truncate(0)
                file.write(f"{os.getpid()}\n".encode())
        yield supported


def _lock(file: FileIO, path: Path, waiting: str, wait: bool) -> bool:
    """Lock the open file, as described at `locked`. False: locks are not supported."""
    if fcntl is None:
        _warn_unlocked(path)
        return False
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise LockedError(path, _holder(file)) from None
            if waiting:
                print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        _warn_unlocked(path)
        return False
    return True


def _warn_unlocked(path: Path) -> None:
    warn_once(path.parent, "lock files", "let only one process at a time write there")


def _holder(file: FileIO) -> int | None:
    file.seek(0)
    content = file.read().strip()
    return int(content) if content.isdigit() else None


@contextlib.contextmanager
def partial_folder(final: Path) -> Iterator[Path]:
    """A new folder next to `final`, to be filled and then renamed to it. It is removed if it was not renamed."""
    final.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=final.name + PARTIAL, dir=final.parent))
    try:
        with _unless_unsupported():
            folder.chmod(0o777 & ~_umask())  # mkdtemp makes it private; the result should have the usual permissions
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _unless_unsupported() -> Iterator[None]:
    """Ignore that the file system cannot do something that is not essential."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def remove_stale_partials(final: Path) -> None:
    """Remove the unfinished folders of killed processes. Call it under the lock that every writer of `final` takes."""
    for folder in final.parent.glob(final.name + PARTIAL + "*"):
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def reason(error: OSError) -> str:
    """The message of the operating system, without Python's prefix `[Errno 28]`."""
    return error.strerror or str(error)
