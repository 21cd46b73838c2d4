"""Handling Ctrl-C and SIGTERM: as a request to stop after the current step, or by exiting at once."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Self

from common.command import INTERRUPTED
from common.streams import printable

STDERR = 2
NOTICE = b"\nstopping: the step is finished and saved; Ctrl-C again leaves at once, with what was saved before\n"


class StopRequest:
    """A context in which the first SIGINT or SIGTERM sets `signal`; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        with contextlib.suppress(OSError):
            os.write(STDERR, NOTICE)  # not print: the signal may have arrived while print was running


@contextlib.contextmanager
def leaving_at_once(message: str) -> Iterator[None]:
    """Ctrl-C within the block ends the process at once, with this message and exit code INTERRUPTED.

    For work in threads that cannot be interrupted, such as compiling: Python would wait for them to end, and a second
    Ctrl-C during that wait would make it abort. There is no cleanup, so the block must not write files.
    """

    def leave(number: int | None = None, frame: FrameType | None = None) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the signal may have arrived while print was running
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, f"{printable(message)}\n".encode(errors="backslashreplace"))
        os._exit(INTERRUPTED)

    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:  # raised by a handler that replaced this one
        leave()
    finally:
        signal.signal(signal.SIGINT, previous)
