"""Where training images come from: the same images either way, and the choice that `auto` makes."""

from typing import Any, cast

import jax
import numpy as np
import pytest

from data.rows import Rows
from tests.tiny_runs import random_dataset
from training.devices import Devices
from training.feed import FromHost, OnDevice, build_feed, default_steps

CPU = jax.devices("cpu")[0]
ROWS = np.array([[3, 0, 25], [7, 7, 1]])


@pytest.mark.parametrize("kind", [FromHost, OnDevice])
def test_a_batch_holds_the_rows_it_was_asked_for(kind: Any) -> None:
    split = random_dataset().train
    feed = kind(split, Devices((CPU,)))
    inputs = feed.inputs(ROWS)
    for number, rows in enumerate(ROWS):
        images, labels = jax.jit(feed.batch)(feed.resident, jax.tree.map(lambda array, n=number: array[n], inputs))
        np.testing.assert_array_equal(images, split.images[rows])
        np.testing.assert_array_equal(labels, split.labels[rows])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


def test_images_chosen_from_others_can_be_kept_on_the_device() -> None:
    """As with data.holdout and data.classes: these are no array until they are read."""
    split = random_dataset().train
    chosen = split._replace(images=Rows(split.images, np.arange(3, 9)), labels=split.labels[3:9])
    feed = OnDevice(chosen, Devices((CPU,)))
    images, labels = jax.jit(feed.batch)(feed.resident, feed.inputs(np.array([[5, 0]]))[0])
    np.testing.assert_array_equal(images, split.images[[8, 3]])
    np.testing.assert_array_equal(labels, split.labels[[8, 3]])


class Device:
    """As much of a device as the choice looks at."""

    def __init__(self, platform: str, memory: dict[str, int] | None) -> None:
        self.platform, self._memory = platform, memory

    def memory_stats(self) -> dict[str, int] | None:
        return self._memory


@pytest.mark.parametrize(
    ("platform", "memory", "kind"),
    [
        ("cpu", {"bytes_limit": 10**9}, FromHost),
        ("gpu", {"bytes_limit": 10**9}, OnDevice),
        ("gpu", {"bytes_limit": 10**4}, FromHost),
        ("gpu", {}, FromHost),
        ("gpu", None, FromHost),
    ],
)
def test_auto_keeps_the_images_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, platform: str, memory: dict[str, int] | None, kind: type
) -> None:
    monkeypatch.setattr(jax, "device_put", lambda arrays, device: arrays)
    split = random_dataset().train
    assert split.images.nbytes == 26 * 8 * 8 * 3
    devices = Devices((cast(jax.Device, Device(platform, memory)),))
    assert type(build_feed("auto", split, devices)) is kind
    assert type(build_feed("host", split, devices)) is FromHost
    assert type(build_feed("device", split, devices)) is OnDevice


def test_a_cpu_has_nothing_to_wait_for() -> None:
    assert default_steps("cpu", 390, None) == 1
    assert default_steps("gpu", 390, None) == 30  # the largest divisor up to 32
    assert default_steps("gpu", 195, 390) == 15
    assert default_steps("gpu", 781, None) == 11
    assert default_steps("gpu", 787, None) == 32  # a prime
    assert default_steps("gpu", 781, 250) == 32  # nothing divides both
