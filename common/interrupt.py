"""Handling Ctrl-C, SIGTERM and a closed terminal: as a request to stop at the next good moment, or by exiting."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Self, TypeVar

from common.command import INTERRUPTED
from common.streams import printable

STDIN, STDERR = 0, 2
STOP_AT_END = "VIT_STOP_AT_END_OF_INPUT"
AT_ONCE = "Ctrl-C again leaves at once, with what was saved before"

Result = TypeVar("Result")


def in_thread(work: Callable[[], Result]) -> Result:
    """The result of `work`, which is called in a thread, so that signals are handled meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


def stop_signals() -> list[signal.Signals]:
    """The signals that ask a process to stop: SIGINT, SIGTERM, and SIGHUP of a closed terminal unless it is ignored, as
    under nohup."""
    signals = [signal.SIGINT, signal.SIGTERM]
    closed = getattr(signal, "SIGHUP", None)  # Windows has none
    if closed is not None and signal.getsignal(closed) == signal.SIG_DFL:
        signals.append(closed)
    return signals


def stop_at_end_of_input() -> None:
    """Send this process SIGTERM when its standard input ends, if the one that started it asks for that.

    It does with STOP_AT_END in the environment, and a pipe as standard input that it never writes to. However that
    process ends, even by kill -9, the pipe is closed, and this one saves and ends as well.
    """
    if os.environ.pop(STOP_AT_END, None) is None:
        return

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(STDIN, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="end of input", daemon=True).start()


class StopRequest:
    """A context in which the first of `stop_signals` sets `signal`, and prints what happens before the process stops.

    A second SIGINT raises KeyboardInterrupt; during `compiling` it ends the process.

    Attributes:
        signal: the signal that was received; None: none yet.
        first: what happens before the process stops, as in "the step is finished and saved". Whoever can be stopped
            keeps it true.
    """

    def __init__(self, first: str = "what has begun is finished and saved") -> None:
        self.signal: signal.Signals | None = None
        self.first = first
        self._may_exit = False

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in stop_signals()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def compiling(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, which compiles and writes no files.

        It runs in a thread: the main thread would not see a signal before the compiler returns. The compiler itself
        cannot be stopped, and Python would wait for it at its end, so a second Ctrl-C ends the process.
        """
        before, self.first, self._may_exit = self.first, "the compilation ends first", True
        try:
            return in_thread(work)
        finally:
            self.first, self._may_exit = before, False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            if self._may_exit:
                _leave("interrupted")
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        with contextlib.suppress(OSError):
            # Not print: the signal may have arrived while print was running.
            os.write(STDERR, f"\nstopping: {printable(self.first)}\n{AT_ONCE}\n".encode(errors="backslashreplace"))


def _leave(message: str) -> None:
    """End the process at once."""
    with contextlib.suppress(OSError, RuntimeError):  # the signal may have arrived while print was running
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(STDERR, f"{printable(message)}\n".encode(errors="backslashreplace"))
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def leaving_at_once(message: str) -> Iterator[None]:
    """Ctrl-C within the block ends the process at once, with this message and exit code INTERRUPTED.

    For work in threads that cannot be interrupted, such as compiling: Python would wait for them to end, and a second
    Ctrl-C during that wait would make it abort. There is no cleanup, so the block must not write files.
    """

    def leave(number: int | None = None, frame: FrameType | None = None) -> None:
        _leave(message)

    previous = signal.signal(signal.SIGINT, leave)
    try:
        yield
    except KeyboardInterrupt:  # raised by a handler that replaced this one
        leave()
    finally:
        signal.signal(signal.SIGINT, previous)
