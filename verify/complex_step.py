"""The derivative from one step along the imaginary axis (Squire and Trapp 1998, doi:10.1137/S003614459631241X).

f'(x) = Im f(x + i h) / h + O(h^2)                                                                       (COMPLEX.1)

Nothing is subtracted, so nothing cancels, and h can be so small that h^2 is less than nothing beside 1: no step has to
be chosen, and the result is right to rounding. It asks that f be analytic: real operations that accept complex numbers
and lose their imaginary part (|z|, real, a cast, a comparison) give a wrong answer without a word. Two guards: an
output without imaginary part is refused at once, and where central differences are at hand, the two have to agree.
"""

from dataclasses import dataclass

import numpy as np

from verify.probe import UNEVEN, Probe

STEP = 2.0**-80


@dataclass(frozen=True)
class ComplexEstimates:
    """Derivatives along m lines, and by how much rounding was seen to change each of them."""

    values: np.ndarray  # (m,)
    spread: np.ndarray  # (m,)
    eps: float

    def bars(self, rows: np.ndarray) -> np.ndarray:
        """Error bars of these lines. One number's spread can be zero by chance; a tensor's largest is not."""
        return 16 * self.eps * np.abs(self.values[rows]) + 4 * self.spread[rows].max(initial=0.0)


def complex_step(
    probe: Probe, lines: np.ndarray, scale: np.ndarray, *, again: bool = True, w: np.ndarray | None = None
) -> ComplexEstimates:
    """COMPLEX.1 along `lines` (m,) of the probe; `scale` (m,) as for central differences.

    A second step that is no power of two times the first rounds everything anew, which shows how much rounding there
    is; `again=False` saves it. `w` is another cotangent than the probe's.

    Raises:
        NotAnalyticError: the forward takes no complex numbers, or its output has no imaginary part.
    """
    values = probe.complex_steps(lines, scale * STEP, w)
    spread = np.abs(probe.complex_steps(lines, scale * STEP * UNEVEN, w) - values) if again else np.zeros(len(values))
    return ComplexEstimates(values, spread, probe.eps)
