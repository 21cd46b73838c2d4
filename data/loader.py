"""Batches: the order of an epoch, padding, and a thread that stays ahead of the training step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from common.errors import DataError
from data.dataset import Split

Item = TypeVar("Item")


class Batch(NamedTuple):
    images: np.ndarray  # uint8 (B, H, W, 3)
    labels: np.ndarray  # int32 (B,)
    count: int  # type: ignore[assignment]  # hides tuple.count; the first `count` rows are images of the data set, the others padding


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(n), a function of (seed, epoch) alone, so that a resumed run sees the same order.

    Built on the raw stream of PCG64, which NumPy promises never to change; Generator.permutation carries no such
    promise.
    """
    raw = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(raw, kind="stable")


def epoch_rows(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Which of n images make up each full batch of this epoch: (n // batch_size, batch_size) positions in the split.

    The remainder that does not fill a batch is dropped: every step then has one shape, so it is traced and compiled
    once, and every step weighs its images equally. Each epoch has its own order, so the images left out differ from
    epoch to epoch.

    Raises DataError where they do not fill a single batch.
    """
    if n < batch_size:
        raise DataError(f"batch_size is {batch_size}, but there are only {n} training images; choose a smaller one.")
    batches = n // batch_size
    return epoch_order(n, seed, epoch)[: batches * batch_size].reshape(batches, batch_size)


def evaluation_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Every image exactly once, in order. The last batch is padded with zeros to `batch_size`; see Batch.count."""
    for first in range(0, len(split.labels), batch_size):
        images, labels = split.images[first : first + batch_size], split.labels[first : first + batch_size]
        count = len(labels)
        if count < batch_size:
            padding = batch_size - count
            images = np.pad(images, ((0, padding), (0, 0), (0, 0), (0, 0)))
            labels = np.pad(labels, (0, padding))
        yield Batch(np.array(images), np.array(labels), count)


def prefetch(
    iterator: Iterable[Item], depth: int = 2, transform: Callable[[Item], Any] | None = None
) -> Generator[Any, None, None]:
    """Yield the items of `iterator`, of which a background thread keeps up to `depth` ready.

    `transform`, say jax.device_put, is applied to each item in the thread. An exception there is raised here, in its
    place in the order. However the consumer leaves (break, exception, close()), the thread ends before it is gone.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    free = threading.Semaphore(depth)
    stop = threading.Event()

    def produce() -> None:
        try:
            source = iter(iterator)
            while free.acquire() and not stop.is_set():
                item = next(source)
                ready.put(("item", item if transform is None else transform(item)))
        except StopIteration:
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            free.release()  # before the yield: while the consumer works on this one, `depth` others are made
            yield value
    finally:
        stop.set()
        free.release()  # wakes a thread that waits for room
        thread.join()
