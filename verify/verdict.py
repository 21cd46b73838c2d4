"""Pass, wrong or inconclusive: what a disagreement between two gradients means.

A coordinate is wrong if |analytic - numeric| exceeds both its error bar and a small fixed share of
the largest gradient in the same tensor                                                                (VERDICT.1)
It is inconclusive if the bar itself exceeds that share, so that agreement within it proves nothing    (VERDICT.2)
If a gradient is zero by theory, there is no largest one to take a share of: both the analytic and the
numeric gradient must lie below the noise floor                                                        (VERDICT.3)

The share does not depend on the size of the tensor: with a tolerance that grows with it, one wrong element could hide
among many right ones. An example of VERDICT.3 is the bias of an attention's keys: adding one vector to all keys changes
no attention weight.
"""

from collections.abc import Callable

import numpy as np

from verify.results import DIFFERENCES, INCONCLUSIVE, PASS, WRONG, MethodResult


def tolerance(method: str, eps: float) -> float:
    """The share of VERDICT.1: in float64 1e-9 for differences and 1e-11 for other methods (in float32 1e-4, 1e-5)."""
    return float(eps ** (0.575 if method == DIFFERENCES else 0.7))


def judge(
    method: str, analytic: np.ndarray, numeric: np.ndarray, bars: np.ndarray, *, scale: float, eps: float,
    skip: np.ndarray | None = None, where: Callable[[int], tuple[int, ...]] | None = None,
) -> MethodResult:  # fmt: skip
    """VERDICT.1 and VERDICT.2 for the coordinates of one tensor, all (m,); one wrong coordinate makes the tensor wrong.

    `skip` marks coordinates without a derivative; `where(i)` is the index of the i-th coordinate in its tensor.
    """
    skip = np.zeros(len(analytic), bool) if skip is None else skip
    known = np.isfinite(numeric) & np.isfinite(bars) & ~skip
    errors = np.where(known, np.abs(analytic - np.where(known, numeric, 0)), 0.0)
    errors[~np.isfinite(analytic)] = np.inf  # wrong, whatever the true value is
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
    """VERDICT.3: both gradients are rounding only."""
    return bool(np.all(np.abs(analytic) <= floor) and np.all(np.abs(numeric) <= np.maximum(floor, bars)))
