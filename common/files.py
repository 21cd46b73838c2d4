"""Atomic writes of files and folders, and locks between processes."""

import contextlib
import errno
import glob
import io
import os
import re
import shutil
import stat
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

PARTIAL = ".partial-"  # in the name of what is unfinished: a folder <name>.partial-<random>, a file .<name>.partial-...
RANDOM = 8  # letters that `tempfile` adds
LONGEST_ID = 10  # digits of a process id
MOST_LINKS = 40  # that lead from one to the next, as for the kernel


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file, open for writing, that replaces `path` when the block ends without an error.

    Until then it has a name of its own in the same folder, `.<name>.partial-<random>`, so that several processes may
    write `path` at the same time: the last one wins, and nobody reads a mixture. After an error, a full disk or Ctrl-C
    it is removed, and `path` is unchanged. Only a killed process leaves it behind; the next write removes it.

    A link is followed, and permissions and owner of a file that is there are kept. A device or a pipe is not replaced:
    it gets the bytes when the block ends.

    Raises:
        OSError: the file cannot be written. Its `filename` is `path`.
    """
    try:
        target = _follow_links(path)
        if _takes_bytes_only(target):
            content = io.BytesIO()
            yield content
            with open(target, "ab") as device:
                device.write(content.getbuffer())
            return
        _remove_leftovers(target)
        with _temporary_file(target) as (file, temporary):
            yield file
            file.flush()
            # Before the rename: otherwise a power failure could leave an empty file under the final name.
            flush(file.fileno(), path)
            os.replace(temporary, target)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the error of a failed write names no file
        raise
    fsync_path(target.parent)


def _follow_links(path: Path) -> Path:
    """The file that a chain of links leads to, which need not exist. An open file of a process is not followed."""
    for _ in range(MOST_LINKS):
        if not path.is_symlink() or _is_of_a_process(path):
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_of_a_process(path: Path) -> bool:
    """Whether this is a file of /proc, as /dev/stdout is."""
    return os.path.realpath(path.parent).startswith("/proc/")


def _takes_bytes_only(target: Path) -> bool:
    """Whether this is a device, a pipe or an open file of a process: nothing that can be replaced."""
    return (target.exists() and not target.is_file() and not target.is_dir()) or _is_of_a_process(target)


@contextlib.contextmanager
def _temporary_file(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file next to `target` with its permissions. It is removed if the block does not rename it.

    As long as it is open it is locked, by which other processes know that it is in use.
    """
    file, temporary = _create_locked(target)
    try:
        with file:
            _copy_permissions(target, temporary)
            yield file, temporary
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _create_locked(target: Path) -> tuple[BinaryIO, Path]:
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_prefix(target), dir=target.parent)
        file, temporary = open(descriptor, "wb"), Path(name)  # noqa: SIM115 - the caller closes it
        with contextlib.suppress(OSError, AttributeError):  # no locks: some network file systems; Windows
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():  # before the lock, another process may have taken it for a leftover
            return file, temporary
        file.close()


def _copy_permissions(target: Path, temporary: Path) -> None:
    try:
        there = target.stat()
    except FileNotFoundError:
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private; the result should have the usual permissions
        return
    with contextlib.suppress(OSError, AttributeError):  # only root can give a file away
        os.chown(temporary, there.st_uid, there.st_gid)
    temporary.chmod(stat.S_IMODE(there.st_mode))


def _remove_leftovers(target: Path) -> None:
    """Remove the unfinished files of killed processes, which are those that nobody has locked."""
    pattern = glob.escape(_prefix(target)) + "[a-z0-9_]" * RANDOM
    for name in glob.glob(pattern, root_dir=target.parent, include_hidden=True):
        leftover = target.parent / name
        with contextlib.suppress(OSError, AttributeError):  # in use, or nobody can tell
            descriptor = os.open(leftover, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    leftover.unlink()


def _prefix(target: Path) -> str:
    """How the names of temporary files begin. A name may have 255 bytes."""
    return f".{target.name.encode()[:200].decode(errors='ignore')}{PARTIAL}"


def is_partial(name: str, target: str) -> bool:
    """Whether `name` is that of an unfinished file, which would have become `target` in the same folder."""
    return re.fullmatch(re.escape(_prefix(Path(target))) + "[a-z0-9_]" * RANDOM, name) is not None


def replace_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text`, or leave it unchanged if that fails. The encoding is UTF-8.

    What stands for bytes of a file name that are not text is written as an escape, `\\udcff`, as JSON reads it.
    """
    with replacing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


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
    """The process id in a lock file; None: there is none, as in a file that somebody else wrote."""
    file.seek(0)
    content = (file.read(LONGEST_ID + 1) or b"").strip()
    return int(content) if content.isdigit() and len(content) <= LONGEST_ID else None


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
