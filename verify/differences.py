"""Central differences over a sweep of steps, extrapolated to step zero, each with an error bar.

Sweep        D_k = (f(x + h_k) - f(x - h_k)) / (2 h_k),   h_k = h_0 / 2^k                              (DIFF.1)
Richardson   T_k,0 = D_k;   T_k,q = T_k,q-1 + (T_k,q-1 - T_k-1,q-1) / (4^q - 1)                        (DIFF.2)
Error bar    2 max(|T_k,q - T_k,q-1|, |T_k,q - T_k-1,q-1|) + 4 noise sqrt(sum_j c_j^2 / 2 h_j^2)       (DIFF.3)
Noise        sqrt((q!)^2 / (2q)! * mean square of the q-th differences of f at points 1e-9 apart)      (DIFF.4)

A central difference has errors of h^2, h^4, h^6, ... times constants (truncation) and of noise / h (rounding): large
steps suffer from the first, small steps from the second. Each column of DIFF.2 removes one more power of h^2, so that
large steps, where rounding is harmless, become exact. The result is the entry of the tableau with the smallest error
bar. Its coefficients c_j, with T = sum_j c_j D_j, say how much of the noise it passes on (Ridders 1982,
doi:10.1016/S0141-1195(82)80057-0; the noise as in More and Wild 2011, doi:10.1137/100786125).
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from verify.probe import UNEVEN, Probe

LEVELS = 6  # steps of a sweep
FIRST = 2  # the largest step is 2^-2 of the tensor's typical size
REFINE = (6, 14)  # extra halvings for a second and a third sweep, where the first is too coarse
FINER = (8, 16, 24, 32)  # extra halvings for an independent second opinion
ENOUGH = 1e-10  # an error bar of this share of the largest derivative is narrow enough
NOISE_POINTS, NOISE_ORDER, NOISE_SPACING = 16, 5, 2.0**-30


@dataclass(frozen=True)
class Estimates:
    """Derivatives along m lines, each (m,)."""

    values: np.ndarray
    bars: np.ndarray
    rounding: np.ndarray  # its part of the bars
    kinks: np.ndarray  # where the slopes from the left and from the right differ, however small the step
    low: np.ndarray  # the smaller of these two slopes
    high: np.ndarray  # the larger

    def take(self, rows: np.ndarray, other: "Estimates", better: np.ndarray) -> None:
        """Replace the estimates of `rows` (k,) by those of `other` (k,), where these are `better` (k,)."""
        for field in fields(self):
            getattr(self, field.name)[rows[better]] = getattr(other, field.name)[better]


def central_differences(
    probe: Probe, lines: np.ndarray, scale: np.ndarray, noise: float, *, levels: int = LEVELS, first: int = FIRST,
    groups: np.ndarray | None = None,
) -> Estimates:  # fmt: skip
    """The derivatives along `lines` (m,) of the probe.

    `scale` (m,) is the typical size of what is moved; steps are multiples of it. Where truncation makes the error bar
    wide, or the function has a kink, finer steps are tried. Wide is relative to the largest derivative in the same
    group; `groups` (m,) numbers the groups.
    """
    found = _sweep(probe, lines, scale, noise, levels, first)
    for finer in REFINE:
        wide = ~(found.bars <= ENOUGH * largest_of(np.abs(found.values), groups))
        rough = np.flatnonzero(wide & (found.bars > 2 * found.rounding) | found.kinks)
        if not len(rough):
            break
        again = _sweep(probe, lines[rough], scale[rough], noise, levels, first + finer)
        # Not at the kink but near it: finer steps see no kink, and are precise enough to see one.
        near = found.kinks[rough] & ~again.kinks & (again.bars < (found.high - found.low)[rough] / 8)
        found.take(rough, again, (again.bars < found.bars[rough]) | near)
    return found


def second_opinion(
    found: Estimates, rows: np.ndarray, probe: Probe, lines: np.ndarray, scale: np.ndarray, noise: float, *,
    share: float, levels: int = LEVELS, first: int = FIRST,
) -> None:  # fmt: skip
    """Correct `rows` of what `central_differences` found where finer and finer steps contradict it or are more precise.

    Steps that straddle many bends of f, or a pole, can agree by chance, and then the error bar is too narrow. Two
    estimates contradict each other if they differ by ten times both error bars and by this `share` of the largest
    derivative. A coordinate that is far smaller than its tensor also gets steps of its own size.
    """
    small = rows[probe.own[lines[rows]] < scale[rows] / 2 ** FINER[0]]
    tries = [(rows, scale, finer) for finer in FINER]
    tries += [(small, np.minimum(scale, probe.own[lines]), finer) for finer in (0, FINER[0])]
    for some, sizes, finer in tries:
        if not len(some):
            continue
        again = _sweep(probe, lines[some], sizes[some], noise, levels, first + finer)
        apart = np.abs(again.values - found.values[some])
        largest = np.abs(again.values[np.isfinite(again.bars)]).max(initial=0.0)
        deceived = apart > np.maximum(10 * (again.bars + found.bars[some]), share * largest)
        found.take(some, again, deceived | (again.bars < found.bars[some]))


def largest_of(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """For each line the largest finite value in its group."""
    groups = np.zeros(len(values), int) if groups is None else groups
    largest = np.zeros(int(groups.max(initial=0)) + 1)
    np.maximum.at(largest, groups, np.nan_to_num(values, posinf=0.0))
    return largest[groups]


def measure_noise(probe: Probe, line: int) -> float:
    """Standard deviation of the rounding errors of `<w, f>`, from points on `line` so close that f is linear there."""
    spacing = NOISE_SPACING * math.sqrt(probe.eps / np.finfo(np.float64).eps)
    t = spacing * (np.arange(NOISE_POINTS) - NOISE_POINTS // 2)
    values = probe.differences(np.array([line, line]), np.stack([t, UNEVEN * t]))
    q = NOISE_ORDER
    largest = np.abs(np.diff(values, q)).max() or 1.0  # divided by first: the square of 1e-200 is zero
    squares = np.mean((np.diff(values, q) / largest) ** 2, axis=1).max()  # of two: points in step can miss a ripple
    measured = largest * math.sqrt(math.factorial(q) ** 2 / math.factorial(2 * q) * squares)  # DIFF.4
    return max(float(measured), probe.least_noise)


def _sweep(probe: Probe, lines: np.ndarray, scale: np.ndarray, noise: float, levels: int, first: int) -> Estimates:
    h = scale[:, None] * 2.0 ** -(first + np.arange(levels))  # (m, K)
    d = probe.differences(lines, np.concatenate([h, -h], axis=1))
    plus, minus = d[:, :levels], d[:, levels:]
    quotients = (plus - minus) / (2 * h)  # DIFF.1
    # x + h is rounded as well, and f multiplies this rounding error by its slope.
    noise_lines = np.hypot(noise, probe.point_rounding(scale) * np.abs(quotients).max(axis=1))
    values, bars, rounding = richardson(quotients, h, noise_lines)
    kinks, low, high = _kinks(plus, minus, h, noise_lines)
    return Estimates(values, bars, rounding, kinks, low, high)


def richardson(quotients: np.ndarray, h: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From central differences (m, K) at steps `h` (m, K), each half of the one before: the best extrapolated values,
    their error bars, and the part of these that is due to rounding, (m,) each.

    `noise` (m,) is the standard deviation of the rounding errors of the function.
    """
    m, levels = quotients.shape
    best, bars, shares = quotients[:, -1].copy(), np.full(m, np.inf), np.zeros(m)
    previous: list[tuple[np.ndarray, np.ndarray]] = []  # the row above: values (m,) and their coefficients (K,)
    for k in range(levels):
        row = [(quotients[:, k], np.eye(levels)[k])]
        for q in range(1, k + 1):
            (fine, c_fine), (coarse, c_coarse) = row[q - 1], previous[q - 1]
            value = fine + (fine - coarse) / (4**q - 1)  # DIFF.2
            coefficients = c_fine + (c_fine - c_coarse) / (4**q - 1)
            row.append((value, coefficients))
            spread = np.maximum(np.abs(value - fine), np.abs(value - coarse))
            rounding = 4 * noise / h[:, 0] * np.sqrt(np.sum((coefficients * (h[:, :1] / h)) ** 2, axis=1) / 2)
            bar = 2 * spread + rounding  # DIFF.3
            better = bar < bars
            best[better], bars[better], shares[better] = value[better], bar[better], rounding[better]
        previous = row
    return best, bars, shares


def _kinks(
    plus: np.ndarray, minus: np.ndarray, h: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where f has a kink: there the difference of the one-sided slopes stays, while elsewhere it falls with h."""
    jump = np.abs(plus + minus) / h
    last, before, earlier = jump[:, -1], jump[:, -2], jump[:, -3]
    stays = (last > 0.75 * before) & (before > 0.75 * earlier) & (earlier > 0.75 * last)
    kinks = stays & (last > 10 * noise / h[:, -1])
    right, left = plus[:, -1] / h[:, -1], -minus[:, -1] / h[:, -1]
    # The slopes are uncertain by as much as the last halving of the step changed them, and by rounding.
    margin = np.abs(right - plus[:, -2] / h[:, -2]) + np.abs(left + minus[:, -2] / h[:, -2]) + 10 * noise / h[:, -1]
    return kinks, np.minimum(left, right) - margin, np.maximum(left, right) + margin
