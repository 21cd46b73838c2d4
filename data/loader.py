"""Batches: the order of the images in an epoch, padding, and prefetching in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from common.errors import DataError
from data.dataset import Split

Item = TypeVar("Item")
Sampling = Literal["shuffle", "balanced"]
"""Which images an epoch consists of: each once, in random order; or as many of each class (`balanced_order`)."""


class Batch(NamedTuple):
    images: np.ndarray  # uint8 (B, H, W, C)
    labels: np.ndarray  # int32 (B,)
    count: int  # type: ignore[assignment]  # hides tuple.count; the first `count` rows are images, the others padding


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(n), int (n,). It depends on n, seed and epoch only, so a resumed run sees the same order.

    It uses the raw stream of PCG64, which NumPy guarantees never to change; for Generator.permutation there is no such
    guarantee.
    """
    return _permutations([seed, epoch], n, 0, 1)[0]


def balanced_order(labels: np.ndarray, seed: int, first: int, count: int) -> np.ndarray:
    """Draws first..first + count - 1 of an endless sequence with equally many images of each class: int (count,).

    labels: int (n,); the result has positions in it. The sequence is a function of the labels and the seed.

    It consists of rounds. A round has one image of each class that has any, in random order, so that at any time the
    numbers of draws of two classes differ by at most one. The images of a class come in random order, each once, then
    again in another order, and so on: a small class is repeated while a large one is gone through once.

    Image j of a class, counted from 0, is therefore the one of round j. So any part of the sequence is computed without
    what comes before it.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    C = len(classes)
    images = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])  # of each class, positions in labels
    begin, end = first // C, -(-(first + count) // C)  # rounds
    of_class = []  # for each class its image in each of these rounds
    for label, own in zip(classes.tolist(), images, strict=True):
        n, skipped = len(own), begin % len(own)
        passes = _permutations([seed, 1 + label], n, begin // n, -(-end // n))
        of_class.append(own[passes.ravel()[skipped : skipped + end - begin]])
    rounds = np.take_along_axis(np.stack(of_class, axis=1), _permutations([seed, 0], C, begin, end), axis=1)
    return rounds.ravel()[first - begin * C :][:count]


def _permutations(key: list[int], n: int, first: int, end: int) -> np.ndarray:
    """Permutations first..end - 1 of range(n), in an endless sequence that `key` names: int (end - first, n)."""
    stream = np.random.PCG64(np.random.SeedSequence(key))
    if first:
        stream.advance(first * n)
    return np.argsort(stream.random_raw((end - first) * n).reshape(-1, n), axis=1, kind="stable")


def epoch_rows(
    labels: np.ndarray, batch_size: int, seed: int, epoch: int, sampling: Sampling = "shuffle"
) -> np.ndarray:
    """The images of each batch of an epoch: int (n // batch_size, batch_size), positions in a split with n labels.

    An incomplete last batch is dropped. All batches then have the same shape, so the step is compiled once, and every
    image of a step has the same weight. The order changes from epoch to epoch, and so do the images left out. With
    `balanced` sampling an epoch has as many batches, and goes on in `balanced_order` where the last one ended.

    Raises DataError where there are fewer than `batch_size` images.
    """
    n = len(labels)
    if n < batch_size:
        raise DataError(f"batch_size is {batch_size}, but there are only {n} training images; choose a smaller one.")
    count = n // batch_size * batch_size
    if sampling == "balanced":
        order = balanced_order(labels, seed, epoch * count, count)
    else:
        order = epoch_order(n, seed, epoch)[:count]
    return order.reshape(-1, batch_size)


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
