"""The progress of an epoch while it trains: a bar on a terminal, a line per minute in a log."""

import sys
import time
from typing import Self

from tqdm import tqdm

from common.progress import format_seconds

LOG_SECONDS = 60.0


class EpochProgress:
    """Shows images done, loss, images/s and time left, of one epoch and of the run; a context manager.

    On a terminal this is a `tqdm` bar, which disappears when the epoch ends. Elsewhere it is a line per minute, so that
    a log stays readable.
    """

    def __init__(self, name: str, total: int, done: int, later: int = 0, later_seconds: float = 0.0) -> None:
        """An epoch of `total` images, of which `done` were trained on before. After it the run trains on `later` more,
        and needs `later_seconds` for all else."""
        self.name, self.total, self.done = name, total, done
        self.later, self.later_seconds = later, later_seconds
        self._bar = tqdm(total=total, initial=done, desc=name, unit=" images", leave=False, disable=None, smoothing=0.1)
        self._began = self._logged = time.perf_counter()
        self._initial = done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, images: int, loss: float | None) -> None:
        """Count `images` more; `loss` is that of a recent step, in nats."""
        self.done += images
        now = time.perf_counter()
        rate = (self.done - self._initial) / (now - self._began)
        run = ""
        if self.later:
            seconds = (self.total - self.done + self.later) / rate + self.later_seconds
            run = f", run {format_seconds(seconds)} left"
        if not self._bar.disable:
            if loss is not None:
                self._bar.set_postfix_str(f"loss {loss:.3f}{run}", refresh=False)
            self._bar.update(images)
            return
        if now - self._logged >= LOG_SECONDS and loss is not None:
            self._logged = now
            left = format_seconds((self.total - self.done) / rate)
            line = f"{self.done / self.total:.0%}, loss {loss:.3f}, {rate:,.0f} images/s, {left} left{run}"
            print(f"{self.name}: {line}", file=sys.stderr, flush=True)
