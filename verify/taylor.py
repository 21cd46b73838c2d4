"""The Taylor test: the remainder of the linear approximation must vanish with the square of the step.

With F(t) = <w, f(x + t v)> and the analytic gradient a:

R(h) = |F(h) - F(0) - h <a, v>|                                                                        (TAYLOR.1)
rate = log2 R(h) / R(h / 2):   2 where a is the gradient, 1 where it is not                            (TAYLOR.2)

The test needs no second derivative and no tolerance, and one direction moves all coordinates of a tensor. If f is
linear in the tensor, the remainder is rounding only; that is a pass where rounding is small beside h <a, v>. The test
is that of the adjoint literature, as in Farrell et al. 2013, doi:10.1137/120873558.
"""

from dataclasses import dataclass

import numpy as np

from verify.results import INCONCLUSIVE, PASS, WRONG

STEPS = 2.0 ** -np.arange(12.0, 20.0)  # of the tensor's typical size: small enough that h^2 outweighs h^3
CLEAR = 30  # a remainder counts if it is this many times its rounding error
HIDDEN = 0.4  # power of eps: the share of the slope that rounding may hide, 5e-7 in float64


@dataclass(frozen=True)
class TaylorTest:
    """The test along one direction. `rates` are those of the remainders above rounding error, large steps first."""

    remainders: np.ndarray
    floors: np.ndarray
    slope: float  # the typical size of `<a, v>`
    eps: float

    @property
    def rates(self) -> np.ndarray:
        clear = self.remainders > CLEAR * self.floors
        usable = len(clear) if clear.all() else int(np.argmin(clear))  # up to the first that rounding touches
        if usable < 2:
            return np.empty(0)
        return np.log2(self.remainders[: usable - 1] / self.remainders[1:usable])  # TAYLOR.2

    @property
    def rounding_only(self) -> bool:
        """Whether even the remainder of the largest step is rounding only."""
        return bool(self.remainders[0] <= CLEAR * self.floors[0])

    @property
    def linear(self) -> bool:
        """Whether f is linear as far as one can see: nothing but rounding remains, and rounding hides no mistake."""
        hidden = CLEAR * self.floors[0] / STEPS[0]  # the error of the slope that would go unnoticed
        return self.rounding_only and hidden <= self.eps**HIDDEN * self.slope

    @property
    def verdict(self) -> str:
        rates = self.rates
        if self.rounding_only:
            return PASS if self.linear else INCONCLUSIVE
        if len(rates) > 1 and np.all(rates[-2:] < 1.5):
            return WRONG
        return PASS if len(rates) and np.all(rates > 1.8) else INCONCLUSIVE


def taylor_test(
    differences: np.ndarray, slope: float, typical: float, noise: float, error: float, eps: float
) -> TaylorTest:
    """TAYLOR.1 from `differences`, F(h) - F(0) at the h of `STEPS`.

    `slope` is `<a, v>` and `error` its rounding error; `typical` is the size of the slope for random signs of v.
    `noise` is the rounding error of the differences.
    """
    remainders = np.abs(differences - STEPS * slope)  # TAYLOR.1
    return TaylorTest(remainders, noise + error * STEPS, typical, eps)
