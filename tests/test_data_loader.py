"""Batches: what an epoch sees, in which order, and the thread that prepares it."""

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from common.errors import DataError
from data.dataset import Split
from data.loader import balanced_order, epoch_order, epoch_rows, evaluation_batches, prefetch


def split_of(n: int) -> Split:
    """Image i is filled with the value i and has the label 2 i, so that a row tells where it came from."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 4, 4, 3)).copy()
    return Split(images, 2 * np.arange(n, dtype=np.int32))


def rows(images: np.ndarray) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


def test_an_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    order = epoch_order(1000, seed=3, epoch=5)
    assert sorted(order.tolist()) == list(range(1000))
    np.testing.assert_array_equal(order, epoch_order(1000, seed=3, epoch=5))
    others = [np.arange(1000), epoch_order(1000, 3, 6), epoch_order(1000, 4, 5), epoch_order(1000, 5, 3)]
    for other in others:
        assert (order != other).mean() > 0.9


def test_the_order_never_changes_between_versions() -> None:
    """A run that is resumed under another NumPy must go on in the same order."""
    assert epoch_order(8, seed=0, epoch=0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert epoch_order(8, seed=1, epoch=2).tolist() == [5, 6, 3, 2, 1, 0, 4, 7]


def test_every_place_is_as_likely() -> None:
    """Where image 0 comes, over 2,000 epochs: 200 times each of ten places, give or take 5 standard deviations."""
    places = np.bincount([epoch_order(10, 0, epoch).tolist().index(0) for epoch in range(2000)], minlength=10)
    assert abs(places - 200).max() < 5 * np.sqrt(200 * 0.9)


def test_batches_follow_the_order_and_drop_the_remainder() -> None:
    np.testing.assert_array_equal(
        epoch_rows(np.zeros(23), 5, seed=1, epoch=2), epoch_order(23, 1, 2)[:20].reshape(4, 5)
    )


def test_the_images_left_out_differ_from_epoch_to_epoch() -> None:
    left_out = {
        frozenset(range(23)) - set(epoch_rows(np.zeros(23), 5, 0, epoch).ravel().tolist()) for epoch in range(5)
    }
    assert len(left_out) == 5


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size is 64, but there are only 23 training images"):
        epoch_rows(np.zeros(23), 64, 0, 0)
    assert epoch_rows(np.zeros(23), 23, 0, 0).shape == (1, 23)


# Classes drawn evenly.

# 1, 3, 10 and 30 images of the classes 0, 2, 3 and 5, mixed; of the classes 1 and 4 there are none.
UNEQUAL = np.random.default_rng(0).permutation(np.repeat([0, 2, 3, 5], [1, 3, 10, 30])).astype(np.int32)


def test_balanced_sampling_draws_each_class_equally_often_at_any_time() -> None:
    drawn = UNEQUAL[balanced_order(UNEQUAL, seed=3, first=0, count=403)]
    for end in range(1, 404):
        counts = np.bincount(drawn[:end], minlength=6)[[0, 2, 3, 5]]
        assert counts.max() - counts.min() <= 1
    assert sorted(set(drawn.tolist())) == [0, 2, 3, 5]


def test_balanced_sampling_repeats_no_image_before_all_of_its_class_were_drawn() -> None:
    order = balanced_order(UNEQUAL, seed=3, first=0, count=4 * 60)
    for label, size in ((0, 1), (2, 3), (3, 10), (5, 30)):
        passes = order[UNEQUAL[order] == label].reshape(-1, size)
        assert (np.sort(passes, axis=1) == np.flatnonzero(label == UNEQUAL)).all()
        assert size == 1 or len({tuple(images) for images in passes.tolist()}) > 1  # each pass in an order of its own


def test_a_part_of_the_balanced_sequence_does_not_depend_on_what_was_drawn_before() -> None:
    """A resumed run sees what it would have seen. Every epoch goes on where the last one ended, in full batches."""
    whole = balanced_order(UNEQUAL, seed=3, first=0, count=400)
    for first, count in ((0, 1), (1, 7), (44, 44), (87, 313), (399, 1)):
        np.testing.assert_array_equal(balanced_order(UNEQUAL, 3, first, count), whole[first : first + count])
    epochs = [epoch_rows(UNEQUAL, 5, 3, epoch, "balanced") for epoch in range(4)]
    assert {rows.shape for rows in epochs} == {epoch_rows(UNEQUAL, 5, 3, 0).shape} == {(8, 5)}
    np.testing.assert_array_equal(np.concatenate(epochs).ravel(), whole[:160])


def test_the_balanced_sequence_is_a_function_of_labels_and_seed_that_never_changes_between_versions() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    assert balanced_order(labels, seed=0, first=0, count=12).tolist() == [4, 1, 5, 2, 0, 5, 3, 4, 3, 4, 5, 0]
    assert balanced_order(labels, seed=1, first=0, count=12).tolist() == [3, 5, 0, 4, 2, 5, 4, 1, 5, 1, 4, 2]


def test_balanced_sampling_is_uniform() -> None:
    """The class of a draw, and which image of it: 2,000 seeds, give or take 5 standard deviations."""
    draws = np.bincount([balanced_order(np.array([0, 0, 0, 1]), seed, 4, 1)[0] for seed in range(2000)], minlength=4)
    assert abs(draws[3] - 1000) < 5 * np.sqrt(500)
    assert abs(draws[:3] - 1000 / 3).max() < 5 * np.sqrt(2000 / 6 * 5 / 6)


def test_of_equally_many_images_a_balanced_epoch_has_each_once() -> None:
    labels = np.arange(40) % 4
    for epoch in range(3):
        assert sorted(epoch_rows(labels, 8, 0, epoch, "balanced").ravel().tolist()) == list(range(40))


@pytest.mark.parametrize(("n", "batch_size"), [(23, 5), (20, 5), (3, 5), (1, 1)])
def test_evaluation_sees_every_image_once_in_order(n: int, batch_size: int) -> None:
    batches = list(evaluation_batches(split_of(n), batch_size))
    assert all(batch.images.shape == (batch_size, 4, 4, 3) for batch in batches)
    assert all(batch.labels.shape == (batch_size,) for batch in batches)
    assert [row for batch in batches for row in rows(batch.images)[: batch.count]] == list(range(n))
    assert [label for batch in batches for label in batch.labels[: batch.count]] == list(range(0, 2 * n, 2))
    last = batches[-1]
    assert last.count == (n - 1) % batch_size + 1
    assert not last.images[last.count :].any()
    assert (last.images.dtype, last.labels.dtype) == (np.uint8, np.int32)


def test_batches_do_not_share_memory_with_the_data_set() -> None:
    split = split_of(10)
    batch = next(evaluation_batches(split, 5))
    batch.images[...] = 99
    batch.labels[...] = 99
    assert rows(split.images) == list(range(10))
    assert split.labels.tolist() == list(range(0, 20, 2))


# Prefetching.


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert prefetching() == []


def wait_until(condition: object) -> None:
    assert callable(condition)
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to pass")


def test_prefetch_gives_the_same_items_in_the_same_order() -> None:
    assert list(prefetch(range(50))) == list(range(50))
    assert list(prefetch(iter([]))) == []


def test_the_transform_runs_on_each_item_in_the_other_thread() -> None:
    here, there = threading.get_ident(), set()

    def double(item: int) -> int:
        there.add(threading.get_ident())
        return 2 * item

    assert list(prefetch(range(5), transform=double)) == [0, 2, 4, 6, 8]
    assert len(there) == 1
    assert here not in there


@pytest.mark.parametrize("depth", [1, 3])
def test_it_works_ahead_but_no_more_than_depth(depth: int) -> None:
    made = []
    items = prefetch((made.append(item) or item for item in range(50)), depth=depth)
    for taken in range(5):
        assert next(items) == taken
        want = taken + 1 + depth  # the items taken, and those that wait
        wait_until(lambda want=want: len(made) == want)
        time.sleep(0.02)
        assert len(made) == want
    items.close()


def failing() -> Iterator[int]:
    yield 0
    yield 1
    raise DataError("image.JPEG: broken")


def test_an_exception_comes_to_the_consumer_in_its_place() -> None:
    items = prefetch(failing())
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(DataError, match=r"image\.JPEG: broken"):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_an_exception_of_the_transform_comes_too() -> None:
    with pytest.raises(ZeroDivisionError):
        list(prefetch([1, 0], transform=lambda item: 1 // item))


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def test_leaving_the_loop_ends_the_thread() -> None:
    items = prefetch(endless())
    for item in items:
        if item == 3:
            break
    assert len(prefetching()) == 1
    start = time.perf_counter()
    items.close()
    assert prefetching() == []
    assert time.perf_counter() - start < 1


def test_an_exception_in_the_loop_ends_the_thread() -> None:
    def consume() -> None:
        for item in prefetch(endless()):
            if item == 3:
                raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        consume()
    gc.collect()
    assert prefetching() == []


def test_a_generator_that_is_never_started_or_forgotten_leaves_no_thread() -> None:
    prefetch(endless())
    forgotten = prefetch(endless())
    next(forgotten)
    del forgotten
    gc.collect()
    assert prefetching() == []


def test_depth_must_be_positive() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        list(prefetch([1], depth=0))
