"""Batches: the order of the images in an epoch, padding, and prefetching in a background thread."""

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
    count: int  # type: ignore[assignment]  # hides tuple.count; the first `count` rows are images, the others padding


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(n), int (n,). It depends on n, seed and epoch only, so a resumed run sees the same order.

    It uses the raw stream of PCG64, which NumPy guarantees never to change; for Generator.permutation there is no such
    guarantee.
    """
    raw = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(raw, kind="stable")


def epoch_rows(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The images of each batch of an epoch: int (n // batch_size, batch_size), positions in a split of n images.

    An incomplete last batch is dropped. All batches then have the same shape, so the step is compiled once, and every
    image of a step has the same weight. The order changes from epoch to epoch, and so do the images left out.

    Raises DataError where there are fewer than `batch_size` images.
    """
    if n < batch_size:
        raise DataError(f"batch_size is {batch_size}, but there are only {n} training images; choose a smaller one.")
    batches = n // batch_size
    return epoch_order(n, seed, epoch)[: batches * batch_size].reshape(batches, batch_size)


def evaluation_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Every image once, in order. The last batch is padded with zeros to `batch_size`; Batch.count says where."""
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
    """Yield the items of `iterator`; a background thread prepares up to `depth` of them in advance.

    `transform`, for example jax.device_put, is applied to each item in the thread. An exception in the thread is raised
    here, after the items before it. The thread has ended when the generator is closed, whether it is exhausted, left by
    `break` or closed by an exception.
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
            free.release()  # before the yield, so that `depth` items are prepared while the consumer uses this one
            yield value
    finally:
        stop.set()
        free.release()  # wakes the thread if it is waiting
        thread.join()
