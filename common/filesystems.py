"""What some file systems cannot do: lock, flush to the disk, map into memory, keep permissions.

Network file systems, FUSE and removable media lack one or the other. The program can do without each of them, so it
goes on, after one warning that says what may happen now.
"""

import errno
import os
import sys
from pathlib import Path

UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.ENODEV, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM}
)
"""What file systems answer, each in its own way, if they cannot do something at all."""
FOLDERS = UNSUPPORTED | {errno.EACCES, errno.EBADF, errno.EISDIR}
"""The same for flushing a folder, for which it has to be opened as if it were a file."""

_warned: set[str] = set()


def warn_once(path: Path, cannot: str, consequence: str) -> None:
    """Print `warning: <path>: this file system cannot <cannot>; <consequence>`, for each `cannot` once in a process."""
    if cannot not in _warned:
        _warned.add(cannot)
        print(f"warning: {path}: this file system cannot {cannot}; {consequence}", file=sys.stderr, flush=True)


def flush(descriptor: int, path: Path, unsupported: frozenset[int] = UNSUPPORTED) -> None:
    """Flush an open file or folder to the disk, or warn where the file system cannot do that.

    Raises:
        OSError: flushing failed for another reason, such as a full disk. Its `filename` is `path`.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in unsupported:
            error.filename = str(path)
            raise
        warn_not_flushed(path)


def warn_not_flushed(path: Path) -> None:
    """Warn that the last files may be lost in a power failure."""
    warn_once(path, "flush files to the disk", "a power failure may damage what was written last")
