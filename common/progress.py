"""Progress bars, and durations as text."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm


def progress_bar(total: int, what: str, unit: str, quiet: bool) -> "tqdm[Any]":
    """A progress bar on stderr. If that is not a terminal, it is updated every ten seconds only."""
    every = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=what, unit=unit, unit_scale=unit == "B", mininterval=every, disable=quiet)


def format_seconds(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss, such as `4:07` or `1:02:33`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def announced(what: str) -> Iterator[None]:
    """Print `what ...` before the block, for work that is silent, and behind it how long the block took."""
    began = time.perf_counter()
    print(f"{what} ... ", end="", flush=True)
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f"{time.perf_counter() - began:.1f} s", flush=True)
