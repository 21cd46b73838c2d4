"""Files that are either the old one or the new one, never half of one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


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
    _sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Write `text` in place of `path`, whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
