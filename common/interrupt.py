"""Ctrl-C and SIGTERM: as a request, so that a loop finishes its step, saves and leaves; or as the end, at once."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Self

from common.command import INTERRUPTED

STDERR = 2
NOTICE = b"\nstopping: the step is finished and saved; Ctrl-C again leaves at once, with what was saved before\n"


class StopRequest:
    """A context in which the first SIGINT or SIGTERM only sets `signal`; a second SIGINT interrupts at once."""

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
            os.write(STDERR, NOTICE)  # not by print: the signal may have come while print was writing


@contextlib.contextmanager
def leaving_at_once(message: str) -> Iterator[None]:
    """Ctrl-C within the block ends the process there and then, with this message and the code INTERRUPTED.

    For work in threads that cannot be interrupted, such as compiling: Python would wait for them to end, and a second
    Ctrl-C while it waits makes it abort. Nothing is cleaned up, so there must be no half-written file.
    """

    def leave(number: int | None = None, frame: FrameType | None = None) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the signal may have come while print was writing
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode())
        os._exit(INTERRUPTED)

    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:  # of a handler that took the place of this one
        leave()
    finally:
        signal.signal(signal.SIGINT, previous)
