"""Pass, wrong or inconclusive: what a disagreement between two gradients means.

A coordinate is wrong where |analytic - numeric| exceeds both its error bar and a small fixed share of the largest
gradient
in the same tensor                                                                                     (VERDICT.1)
It is inconclusive where the bar itself exceeds that share, so that agreement within it proves nothing  (VERDICT.2)

The share is the same for one number and for a million: a tolerance that grows with the size of an array lets one wrong
element hide among many right ones. A tensor whose gradient is zero by theory (adding one vector to all keys changes no
attention weight) has no scale to be a share of: there both gradients must lie below the noise floor     (VERDICT.3)
"""

from collections.abc import Callable

import numpy as np

from verify.results import DIFFERENCES, INCONCLUSIVE, PASS, WRONG, MethodResult


def tolerance(method: str, eps: float) -> float:
    """The share of VERDICT.1: 1e-9 by differences, 1e-11 by all else in float64 (in float32 1e-4 and 1e-5)."""
    return float(eps ** (0.575 if method == DIFFERENCES else 0.7))


def judge(
    method: str, analytic: np.ndarray, numeric: np.ndarray, bars: np.ndarray, *, scale: float, eps: float,
    skip: np.ndarray | None = None, where: Callable[[int], tuple[int, ...]] | None = None,
) -> MethodResult:  # fmt: skip
    """VERDICT.1 and VERDICT.2 for the coordinates of one tensor, all (m,); a tensor is as good as its worst coordinate.

    `skip` marks coordinates without a derivative; `where(i)` gives the place of the i-th in its tensor.
    """
    skip = np.zeros(len(analytic), bool) if skip is None else skip
    known = np.isfinite(numeric) & np.isfinite(bars) & ~skip
    errors = np.where(known, np.abs(analytic - np.where(known, numeric, 0)), 0.0)
    errors[~np.isfinite(analytic)] = np.inf  # whatever the true value is, this is not it
    bars = np.where(known, bars, np.inf)
    share = tolerance(method, eps) * scale
    wrong = (errors > np.maximum(bars, share)) | ~np.isfinite(analytic)
    blurred = ~wrong & ~skip & (bars > share)
    i = int(np.argmax(np.where(wrong, errors, -1.0) if wrong.any() else errors))
    norm = float(np.linalg.norm(numeric[known]))
    scale = scale if np.isfinite(scale) else 0.0
    return MethodResult(
        method,
        WRONG if wrong.any() else INCONCLUSIVE if blurred.any() or not known.any() else PASS,
        worst=float(errors[i] / scale) if scale else None,
        norm=float(np.linalg.norm(errors[known]) / norm) if norm else None,
        bar=float(bars[known].max() / scale) if scale and known.any() else None,
        where=where(i) if where else None,
        analytic=float(analytic[i]),
        numeric=float(numeric[i]),
        bar_there=float(bars[i]),
    )


def is_zero(analytic: np.ndarray, numeric: np.ndarray, bars: np.ndarray, floor: float) -> bool:
    """VERDICT.3: nothing here but rounding, on either side."""
    return bool(np.all(np.abs(analytic) <= floor) and np.all(np.abs(numeric) <= np.maximum(floor, bars)))
