"""Do two computations of the same numbers agree, up to rounding?

How much rounding may change each number is measured: the computation is repeated SEEDS times, each of its operations
rounded at random (ROUND.1, SUM.1 of verify/by_numpy.py).

    |found - expected|  <=  MARGIN max over the seeds |rounded - expected|                        (AGREE.1)

for each number of the output, or for all of them what this gives for 99% of them, if that is more. ROUND.1 changes a
result by eps, which is twice the largest rounding error and 3.5 times a typical one, so with MARGIN the bound is ten
times the typical difference of two computations. A number that was left out or added twice is off by far more.

Some numbers jump: where rounding decides which pixel is taken, they are another one. With J numbers in which a seed
exceeds the bound of the 99%,

    AGREE.1 may fail in MARGIN J numbers                                                              (AGREE.2)

as it may for integers and truth values, all of which are exact or jump.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.by_numpy import is_float, is_key
from verify.random_rounding import seeds

SEEDS, MARGIN, USUAL = 4, 4.0, 0.99


@dataclass(frozen=True)
class Comparison:
    """One output, compiled and one by one. Of integers and truth values, numbers that differ are counted."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    difference: float  # where it exceeds most what is allowed there, those of AGREE.2 left out
    allowed: float  # there, by AGREE.1; of integers, by AGREE.2
    scale: float  # the largest number of the output; of integers, how many there are
    where: tuple[int, ...] | None = None  # there:
    compiled: float | None = None
    expected: float | None = None

    @property
    def differs(self) -> bool:
        return not self.difference <= self.allowed


def compared(
    names: Sequence[str], found: Sequence[Any], expected: Sequence[Any], again: Callable[[int], list[Any]]
) -> list[Comparison]:
    """Each output found against the expected one. `again` computes all of them, rounded at random; it is called only
    if some differ by more than one rounding."""
    differences = [apart(x, y) for x, y in zip(found, expected, strict=True)]
    least = [_unit(y) * _scale(y) for y in expected]
    changes: list[list[np.ndarray]] = [[] for _ in expected]
    if any(d.max(initial=0.0) > unit for d, unit in zip(differences, least, strict=True)):
        for seed, _ in zip(seeds(), range(SEEDS), strict=False):
            for list_of, x, y in zip(changes, again(int(seed)), expected, strict=True):
                list_of.append(apart(x, y))
    return [_comparison(*row) for row in zip(names, found, expected, differences, least, changes, strict=True)]


def _comparison(
    name: str, found: Any, expected: Any, difference: np.ndarray, least: float, changes: list[np.ndarray]
) -> Comparison:
    """By AGREE.1 and AGREE.2, at the number that exceeds what is allowed there most."""
    allowed, jumping = _allowed(least, changes, is_real(expected)) if changes else (np.full(difference.shape, least), 0)
    if not is_real(expected):
        size, scale = float(np.count_nonzero(difference)), float(difference.size)
        return Comparison(name, expected.shape, str(expected.dtype), size, float(jumping), scale)
    with np.errstate(all="ignore"):
        excess = np.where(difference > 0, difference / allowed, 0.0).ravel()
    if not excess.size:
        return Comparison(name, expected.shape, str(expected.dtype), 0.0, least, 0.0)
    worst = int(np.argpartition(excess, -1 - jumping)[-1 - jumping]) if jumping < excess.size else int(excess.argmin())
    where = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
    numbers = float(difference[where]), float(allowed[where]), _scale(expected)
    values = (float(found[where]), float(expected[where])) if found.shape == expected.shape else (math.nan, math.nan)
    return Comparison(name, expected.shape, str(expected.dtype), *numbers, where, *values)


def _allowed(least: float, changes: list[np.ndarray], real: bool) -> tuple[np.ndarray, int]:
    """AGREE.1 for each number, and of how many numbers it need not hold (AGREE.2)."""
    largest = np.max(changes, axis=0)
    usual = max(least, MARGIN * float(np.quantile(largest, USUAL, method="higher"))) if real and largest.size else 0.0
    jumping = max(int(np.count_nonzero(change > usual)) for change in changes)
    return np.maximum(usual, MARGIN * largest), int(MARGIN * jumping)


def apart(a: Any, b: Any) -> np.ndarray:
    """The difference of two arrays, number by number: infinite where one alone is infinite or NaN, or where shape or
    type differ; of integers, truth values and keys 1 where they differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.full(b.shape, np.inf)
    if is_key(b):
        words = (np.asarray(jax.random.key_data(keys)) for keys in (a, b))
        return np.any(np.not_equal(*words), axis=-1).astype(np.float64)
    if not is_real(b):
        return (a != b).astype(np.float64)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(all="ignore"):
        distance = np.abs(a - b)
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isfinite(distance), distance, np.inf))


def is_real(x: Any) -> bool:
    return not is_key(x) and is_float(x.dtype)


def _scale(x: Any) -> float:
    """The largest finite number, of floats."""
    size = np.abs(np.asarray(x, np.float64)) if is_real(x) else np.zeros(1)
    return float(size.max(initial=0.0, where=np.isfinite(size)))


def _unit(x: Any) -> float:
    """One rounding, relative to the largest number; integers are exact."""
    return float(jnp.finfo(x.dtype).eps) if is_real(x) else 0.0
