"""Pass, wrong or inconclusive: what a disagreement between two gradients means.

A coordinate is wrong if |analytic - numeric| exceeds both its error bar and a small fixed share of
the largest gradient in the same tensor                                                                (VERDICT.1)
It is inconclusive if the bar itself exceeds that share, so that agreement within it proves nothing    (VERDICT.2)
The share is larger, 5e-7 in float64, for the part of the bar that is rounding: where the computation
itself has no more correct digits than that, agreement to all of them is a pass                        (VERDICT.4)
If a gradient is zero by theory, there is no largest one to take a share of: both the analytic and the
numeric gradient must lie below the noise floor, and the floor far below the other gradients           (VERDICT.3)

The share does not depend on the size of the tensor: with a tolerance that grows with it, one wrong element could hide
among many right ones. An example of VERDICT.3 is the bias of an attention's keys: adding one vector to all keys changes
no attention weight.
"""

from collections.abc import Callable

import numpy as np

from verify.results import COMPLEX, DIFFERENCES, INCONCLUSIVE, PASS, WRONG, MethodResult

DOUBT = "contradicts the complex step"


def tolerance(method: str, eps: float) -> float:
    """The share of VERDICT.1: in float64 1e-9 for differences and 1e-11 for other methods (in float32 1e-4, 1e-5)."""
    return float(eps ** (0.575 if method == DIFFERENCES else 0.7))


def rounding_share(eps: float) -> float:
    """The share of VERDICT.4: 5e-7 in float64 (in float32 2e-3)."""
    return float(eps**0.4)


def judge(
    method: str, analytic: np.ndarray, numeric: np.ndarray, bars: np.ndarray, *, scale: float, eps: float,
    rounding: np.ndarray | float = 0.0, skip: np.ndarray | None = None, other: np.ndarray | None = None,
    where: Callable[[int], tuple[int, ...]] | None = None,
) -> MethodResult:  # fmt: skip
    """VERDICT.1, 2 and 4 for the coordinates of one tensor, all (m,); one wrong coordinate makes the tensor wrong.

    `rounding` is the part of the bars that is due to rounding. `skip` marks coordinates without a derivative. `other`
    is what another method found where it contradicts this one, else NaN: there the gradient must agree within the bar,
    and not only to the share; and if it agrees with the other method, nobody knows which is right. `where(i)` is the
    index of the i-th coordinate in its tensor.
    """
    skip = np.zeros(len(analytic), bool) if skip is None else skip
    known = np.isfinite(numeric) & np.isfinite(bars) & ~skip
    errors = np.where(known, np.abs(analytic - np.where(known, numeric, 0)), 0.0)
    errors[~np.isfinite(analytic)] = np.inf  # wrong, whatever the true value is
    bars = np.where(known, bars, np.inf)
    share = tolerance(method, eps) * scale
    wrong = (errors > np.maximum(bars, share)) | ~np.isfinite(analytic)  # VERDICT.1
    blurred = (bars - rounding > share) | (bars > max(share, rounding_share(eps) * scale))  # VERDICT.2, VERDICT.4
    doubt = np.zeros(len(errors), bool)
    if other is not None:
        wrong &= ~(np.abs(analytic - other) <= rounding_share(eps) * scale)
        beyond = errors > np.maximum(4 * bars, tolerance(COMPLEX, eps) * scale)
        doubt = np.isfinite(other) & beyond & ~wrong & ~skip
    blurred = doubt | blurred & ~wrong & ~skip
    i = int(np.argmax(np.where(wrong, errors, -1.0) if wrong.any() else errors))
    size = norm(numeric[known])
    scale = scale if np.isfinite(scale) else 0.0
    return MethodResult(
        method,
        WRONG if wrong.any() else INCONCLUSIVE if blurred.any() or not known.any() else PASS,
        worst=float(errors[i] / scale) if scale else None,
        norm=norm(errors[known]) / size if size else None,
        bar=float(bars[known].max() / scale) if scale and known.any() else None,
        where=where(i) if where else None,
        analytic=float(analytic[i]),
        numeric=float(numeric[i]),
        bar_there=float(bars[i]),
        note=DOUBT if doubt.any() else "",
    )


def norm(array: np.ndarray) -> float:
    """The Euclidean norm. Divided by the largest number first: the square of 1e200 is infinite, that of 1e-200 zero."""
    largest = float(np.abs(array).max(initial=0.0))
    return largest * float(np.linalg.norm(array / largest)) if largest and np.isfinite(largest) else largest


def is_zero(analytic: np.ndarray, numeric: np.ndarray, bars: np.ndarray, floor: float, limit: float) -> bool:
    """VERDICT.3: both gradients are rounding only, and rounding is small, below `limit`."""
    noise = max(floor, float(bars.max(initial=0.0)))
    small = np.all(np.abs(analytic) <= floor) and np.all(np.abs(numeric) <= np.maximum(floor, bars))  # VERDICT.3
    return bool(small and noise <= limit)
