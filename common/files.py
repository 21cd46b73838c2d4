"""Files and folders that are whole or absent, never half written; and locks that die with their holder."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: no lock; unique temporary names still keep two builds apart
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial-"  # marks a folder under construction: <name>.partial-<random>


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in place of `path`, which takes its name when the block ends without an error.

    Until then it is `.<name>.tmp` in the same folder. After an error, a full disk or Ctrl-C it is removed and `path` is
    as it was; only a process killed outright leaves one behind, and the next write takes it over. One writer at a time.

    Raises:
        OSError: the file cannot be written; it names `path`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # first the bytes, then the name: else a power cut can leave the name without them
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a failing write does not say which file
        raise
    fsync_path(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write `text` in place of `path`, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


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
