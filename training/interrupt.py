"""Ctrl-C and SIGTERM as a request: the loop finishes its step, saves and leaves."""

import contextlib
import os
import signal
from types import FrameType
from typing import Self

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
