"""A log file with what a command says on the terminal."""

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

from common.command import one_line
from common.errors import UserError
from common.streams import printable


@contextlib.contextmanager
def logged(path: Path, command: str) -> Iterator[None]:
    """Append to the file `path` what is printed in the block, on both streams, and the error that ends it.

    It begins with the date and `command`. Progress bars are left out. Once the file cannot be written, as on a full
    disk, the block goes on without it.

    Raises:
        OSError: the file cannot be opened.
    """
    with open(path, "ab", buffering=0) as file:  # a buffer would be written again, and fail again, when it is closed
        log = _Log(file)
        log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {command}\n")
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Tee(streams[0], log), _Tee(streams[1], log)
        try:
            yield
        except (UserError, OSError) as error:
            log.write(f"error: {one_line(error)}\n")
            raise
        except KeyboardInterrupt:
            log.write("interrupted\n")
            raise
        except Exception:
            log.write(traceback.format_exc())
            raise
        finally:
            sys.stdout, sys.stderr = streams


class _Log:
    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        if "\r" not in text:  # a progress bar draws over itself
            with contextlib.suppress(OSError):
                self._file.write(printable(text).encode("utf-8", errors="backslashreplace"))


class _Tee:
    """A stream whose text also goes to the log."""

    def __init__(self, stream: TextIO, log: _Log) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
