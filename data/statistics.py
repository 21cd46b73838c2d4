"""Mean and standard deviation of the pixels of a data set, from exact integer sums."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ROWS = 1000  # images that are counted at once


def sums_of(images: np.ndarray) -> tuple[list[int], list[int]]:
    """uint8 (n, H, W, C) -> the sum of the pixels of each channel, and of their squares."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)  # how often each value occurs in each channel
    for first in range(0, len(images), ROWS):
        for channel in range(channels):
            counts[channel] += np.bincount(images[first : first + ROWS, ..., channel].ravel(), minlength=256)
    values = np.arange(256)
    return (counts @ values).tolist(), (counts @ values**2).tolist()


def mean_and_std(
    pixels: int, sums: Sequence[int], squares: Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels scaled to 0..1.

    pixels: how many there are in a channel.  sums, squares: of the pixels of each channel, from 0 to 255, and of their
    squares. The standard deviation of a constant channel is 1, as it is divided by.
    """
    mean = tuple(s / (255 * pixels) for s in sums)
    std = tuple(math.sqrt(pixels * q - s * s) / (255 * pixels) or 1.0 for s, q in zip(sums, squares, strict=True))
    return mean, std
