"""The analytic side of a check: the gradient derived by hand, and what is wrong with it before it is compared."""

from dataclasses import dataclass

import numpy as np

from verify.diagnosis import wrong_shape
from verify.errors import CheckError
from verify.misuse import raised
from verify.probe import MULTIPLE, UNEVEN, Probe
from verify.results import DIFFERENCES
from verify.verdict import tolerance

FAR = 20  # the power of two of multiples of the cotangent at which a clip shows that begins far from it
LOST = 1024  # of the smallest normal numbers may be lost in a gradient


@dataclass(frozen=True)
class Analytic:
    """The hand-derived gradient (n,), and its change when it is rounded differently (n,)."""

    values: np.ndarray
    spread: np.ndarray
    problems: dict[str, str]  # by tensor, what is wrong even before numbers are compared
    raised: bool = False  # the backward raised an exception

    def floor(self, index: np.ndarray, largest: float, eps: float) -> float:
        """A bound on the rounding errors of gradients that are zero by theory; `largest` is the largest of all."""
        return 10 * float(self.spread[index].max(initial=0.0)) + 4 * eps * largest


def analytic_gradient(probe: Probe, rounding: np.ndarray | float = 0.0) -> Analytic:
    """The gradient, computed again and again. It is linear in the cotangent, so that of multiples differs by rounding.

    `rounding` (n,) is what is known of its rounding errors otherwise.
    """
    values, change = np.zeros(probe.n), np.zeros(probe.n)
    far = 2.0 ** min(FAR, np.finfo(probe.dtype).maxexp // 8)
    factors = (MULTIPLE,) if probe.case.gradients else (MULTIPLE, UNEVEN * far, UNEVEN / far)
    try:
        first, *others = probe.case.gradients or (probe.gradient(factor) for factor in (1.0, *factors))
    except CheckError:  # the backward is not what a check takes
        raise
    except Exception as error:  # a wrong backward may raise anything
        return Analytic(values, change, dict.fromkeys(probe.names, raised(error)), raised=True)
    problems = {name: problem for name in probe.names if (problem := _problem(first.get(name), probe, name))}
    for name in sorted(first.keys() - set(probe.names)):
        problems[name] = "there is a gradient of this name, but no such tensor"
    for name in probe.names:
        if name not in problems:
            span = probe.span[name]
            values[span] = np.ravel(first[name])
            for factor, other in zip(factors, others, strict=True):
                off = np.abs(np.ravel(other[name]) / factor - values[span])
                counts = np.isfinite(off) & (off > LOST * probe.tiny / abs(factor))
                change[span] = np.maximum(change[span], np.where(counts, off, 0.0))
    spread = np.maximum(change, rounding)
    finite = np.isfinite(values)
    largest = np.abs(values[finite]).max(initial=0.0)
    for name in probe.names:
        span = probe.span[name]
        off = change[span].max(initial=0.0)
        known = 10 * np.max(np.broadcast_to(rounding, (probe.n,))[span], initial=0.0)
        if off > max(tolerance(DIFFERENCES, probe.eps) * largest, known):  # far beyond rounding
            problems.setdefault(name, _not_linear(off / largest))
    return Analytic(values, spread, problems)


def _not_linear(share: float) -> str:
    change = f"it changes by {share:.0e} of the largest gradient where only rounding should"
    if share < 1e-5:
        return f"imprecise, as if computed in lower precision, or not linear in the cotangent: {change}"
    return f"not linear in the cotangent: the backward uses dy in another way than to multiply it; {change}"


def _problem(gradient: object, probe: Probe, name: str) -> str | None:
    if gradient is None:
        return "there is no gradient for it"
    found = np.asarray(gradient)
    if found.shape != probe.shapes[name]:
        return wrong_shape(found.shape, probe.shapes[name])
    if found.dtype != probe.dtype:
        return f"its gradient is {found.dtype}, it is {probe.dtype}"
    return None
