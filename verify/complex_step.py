"""The derivative from one step along the imaginary axis (Squire and Trapp 1998, doi:10.1137/S003614459631241X).

f'(x) = Im f(x + i h) / h + O(h^2)                                                                       (COMPLEX.1)

Nothing is subtracted, so nothing cancels, and h can be so small that h^2 vanishes beside 1: no step has to be chosen,
and the result is right to rounding. f must be analytic: operations that accept complex numbers and drop their imaginary
part (|z|, real, a cast, a comparison) give a wrong answer without an error. There are two guards: an output without an
imaginary part is refused, and if central differences are measured as well, the two must agree.
"""

from dataclasses import dataclass, replace

import numpy as np

from verify.probe import UNEVEN, Probe

STEP = 2.0**-80  # of the typical size of what is moved
LARGEST = 2.0**-30  # the same, for numbers so small that the usual step would be too near zero


@dataclass(frozen=True)
class ComplexEstimates:
    """Derivatives along m lines, and the change of each when it is rounded differently."""

    values: np.ndarray  # (m,)
    spread: np.ndarray  # (m,)
    underflow: np.ndarray  # (m,), the error due to numbers near the smallest that there are
    eps: float

    def bars(self, rows: np.ndarray) -> np.ndarray:
        """Error bars of these lines. The spread of one number can be zero by chance; the largest of a tensor is not."""
        rounding = 16 * self.eps * np.abs(self.values[rows]) + 4 * self.spread[rows].max(initial=0.0)
        return rounding + self.underflow[rows]

    def with_spread(self, spread: np.ndarray) -> "ComplexEstimates":
        """The same with a spread of at least `spread` (m,)."""
        return replace(self, spread=np.maximum(self.spread, spread))


def complex_step(
    probe: Probe, lines: np.ndarray, sizes: np.ndarray, *, again: bool = True, w: np.ndarray | None = None
) -> ComplexEstimates:
    """COMPLEX.1 along `lines` (m,) of the probe; `sizes` (m,) are the typical sizes of what is moved.

    A second step, which is no power of two times the first, rounds everything differently and so measures the rounding
    error; `again=False` leaves it out. `w` replaces the cotangent of the probe.

    Raises:
        NotAnalyticError: the forward takes no complex numbers, or its output has no imaginary part.
    """
    h = step_sizes(probe, lines, sizes)
    values = probe.complex_steps(lines, h, w)  # COMPLEX.1
    spread = np.abs(probe.complex_steps(lines, h * UNEVEN, w) - values) if again else np.zeros(len(values))
    truncation = 16 * relative_steps(probe, sizes) ** 2 * np.abs(values)
    return ComplexEstimates(values, spread, truncation + probe.underflow / h, probe.eps)


def step_sizes(probe: Probe, lines: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The steps h (m,) along `lines` (m,), of which directions have the size of what they move."""
    return relative_steps(probe, sizes) * np.where(lines < 0, 1.0, sizes)


def relative_steps(probe: Probe, sizes: np.ndarray) -> np.ndarray:
    """The steps (m,) in units of `sizes`, such that what is moved stays far above the smallest normal number."""
    safe = np.minimum(LARGEST, probe.tiny * 2.0**100 / sizes)
    return np.maximum(np.maximum(STEP, safe), 4 * probe.tiny / sizes)
