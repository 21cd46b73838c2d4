"""From the pattern of a disagreement to the kind of mistake.

A wrong gradient is rarely random. A forgotten factor leaves a constant ratio. A forgotten mean leaves a difference that
is constant along an axis. A gradient that counts one image only equals the numeric one with the cotangents of all other
images set to zero. Each rule below looks for one such pattern and returns a sentence; the first that fits is the
diagnosis.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from verify.factors import CLOSE, name_factor
from verify.products import untransposed


@dataclass(frozen=True)
class Evidence:
    """What is known of a wrong gradient.

    Attributes:
        analytic, numeric: the whole tensor if every coordinate was checked, else the sampled coordinates, (m,).
        wrong: which coordinates are wrong, of the same shape.
        shape: of the tensor.
        sizes: what a wrong factor may be made of, as in `{"B": 3, "K": 6}`.
        others: arrays by name that the difference may be made of: the input, the output, the cotangent.
        only: yields a name such as "image 0" and the numeric gradient (shaped as `numeric`) of that image alone, the
            cotangent of all else being zero.
    """

    analytic: np.ndarray
    numeric: np.ndarray
    wrong: np.ndarray
    shape: tuple[int, ...]
    sizes: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    only: Callable[[], Iterator[tuple[str, np.ndarray]]] | None = None

    @property
    def complete(self) -> bool:
        """Whether every coordinate is known."""
        return self.numeric.shape == self.shape

    @property
    def difference(self) -> np.ndarray:
        return self.analytic - self.numeric

    def alike(self) -> Iterator[tuple[str, np.ndarray]]:
        """The other arrays of the same shape."""
        return ((name, other) for name, other in self.others.items() if other.shape == self.shape)


def diagnose(evidence: Evidence) -> str:
    """One sentence: the kind of mistake and, if it is not everywhere, where it is."""
    always: tuple[Callable[[Evidence], str | None], ...] = (_not_finite, _zero, _not_zero, _factor)
    if_complete = (
        _transposed, _untransposed, _permuted, _one_of_many, _other_sum, _factor_by_axis, _factor_of_others,
        _difference_by_axis, _difference_of_others, _rank_one,
    )  # fmt: skip
    for rule in always + (if_complete if evidence.complete else ()):
        found = rule(evidence)
        if found:
            return found + _place(evidence)
    return _unknown(evidence) + _place(evidence)


def wrong_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What the shape of a gradient suggests when it is not that of its tensor."""
    shapes = f"its gradient has shape {found}, it has shape {expected}"
    if found == expected[::-1]:
        return f"transposed: {shapes}"
    if len(found) > len(expected):
        return f"an axis was not summed over: {shapes}"
    if len(found) == len(expected) == 1:
        return f"summed over the wrong axis: {shapes}"
    return f"the wrong shape: {shapes}"


def _not_finite(evidence: Evidence) -> str | None:
    return None if np.isfinite(evidence.analytic).all() else "not finite (NaN or infinity)"


def _zero(evidence: Evidence) -> str | None:
    return None if evidence.analytic.any() else "zero: this gradient was forgotten, or overwritten"


def _not_zero(evidence: Evidence) -> str | None:
    if np.abs(evidence.numeric).max() > CLOSE * np.abs(evidence.analytic).max():
        return None
    return "should be zero: the output does not depend on this tensor"


def _factor(evidence: Evidence) -> str | None:
    a, n = evidence.analytic, evidence.numeric
    ratio = _common_ratio(a, n)
    if ratio is None:
        return None
    rest = np.abs(a - ratio * n).max()
    if rest <= 0.1 * abs(ratio - 1) * np.abs(n).max():
        return name_factor(ratio, evidence.sizes)
    if evidence.wrong.mean() > 0.5:
        return f"nearly right, off by up to {np.abs(a - n).max() / np.abs(n).max():.2g} of the largest gradient"
    return None  # a few wrong numbers among right ones leave no common factor


def _common_ratio(a: np.ndarray, n: np.ndarray) -> float | None:
    """r with a = r n everywhere, if there is one."""
    norm = float(np.vdot(n, n))
    ratio = float(np.vdot(n, a)) / norm if norm else 0.0
    return ratio if ratio and _same(a, ratio * n) else None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= CLOSE * max(np.abs(a).max(), np.abs(b).max()))


def _times(ratio: float, evidence: Evidence) -> str:
    return "" if math.isclose(ratio, 1, rel_tol=CLOSE) else f", and {name_factor(ratio, evidence.sizes)}"


def _transposed(evidence: Evidence) -> str | None:
    a, n = evidence.analytic, evidence.numeric
    for first, second in itertools.combinations(range(a.ndim), 2):
        swapped = n.swapaxes(first, second)
        candidates = [(swapped.reshape(a.shape), "its numbers are laid out as those of the transpose")]
        if swapped.shape == a.shape:
            candidates.insert(0, (swapped, f"axes {first} and {second} are swapped"))
        for candidate, words in candidates:
            ratio = _common_ratio(a, candidate)
            if ratio is not None:
                return f"transposed: {words}{_times(ratio, evidence)}"
    return None


def _untransposed(evidence: Evidence) -> str | None:
    return untransposed(evidence.analytic, evidence.numeric, evidence.others)


def _permuted(evidence: Evidence) -> str | None:
    a, n = evidence.analytic, evidence.numeric
    if a.size > 2 and _same(np.sort(a, axis=None), np.sort(n, axis=None)):
        return "the right numbers in the wrong places: reshaped or transposed in another order than in the forward"
    return "the sign is flipped in places" if a.size > 2 and _same(np.abs(a), np.abs(n)) else None


def _one_of_many(evidence: Evidence) -> str | None:
    for name, alone in evidence.only() if evidence.only is not None else ():
        ratio = _common_ratio(evidence.analytic, alone)
        if ratio is not None and not _same(alone, evidence.numeric):
            return f"not summed: only {name} was counted{_times(ratio, evidence)}"
    return None


def _other_sum(evidence: Evidence) -> str | None:
    """The cotangent or a sum of it, without any derivative of the layer."""
    dy = evidence.others.get("dy")
    if dy is None:
        return None
    for words, total in _sums(dy):
        ratio = _common_ratio(evidence.analytic, total) if total.shape == evidence.shape else None
        if ratio is not None:
            return f"this is {words}{_times(ratio, evidence)}"
    return None


def _sums(dy: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The cotangent, its sums over some axes, and its sum over the batch at one token."""
    yield "dy itself: the derivative through the layer is missing", dy
    for count in range(1, dy.ndim + 1):
        for axes in itertools.combinations(range(dy.ndim), count):
            names = " and ".join(map(str, axes))
            yield f"dy summed over axis {names}: a wrong sum, or a factor is missing", dy.sum(axis=axes)
    for token in range(dy.shape[1] if dy.ndim == 3 else 0):
        yield (
            f"dy of token {token} summed over the batch: a wrong token, or a factor is missing",
            dy[:, token].sum(axis=0),
        )


def _axis_sets(ndim: int) -> Iterator[tuple[int, ...]]:
    """The sets of axes along which a factor may vary: at least one axis, but not all."""
    return itertools.chain.from_iterable(itertools.combinations(range(ndim), k) for k in range(1, ndim))


def _ratio_by_axis(a: np.ndarray, n: np.ndarray, kept: tuple[int, ...]) -> np.ndarray | None:
    """r with a = r n that varies along the axes `kept` only, if there is one. The other axes must hold two or more
    numbers, or every array would have such an r."""
    rest = tuple(axis for axis in range(a.ndim) if axis not in kept)
    if math.prod(a.shape[axis] for axis in rest) < 2:
        return None
    norm = (n * n).sum(axis=rest, keepdims=True)
    ratio = np.divide((a * n).sum(axis=rest, keepdims=True), norm, out=np.zeros_like(norm), where=norm > 0)
    return ratio if _same(a, ratio * n) else None


def _factor_by_axis(evidence: Evidence) -> str | None:
    """a = r n, where r varies along some axes only: a vector is missing as a factor, or is one too many."""
    for kept in _axis_sets(evidence.analytic.ndim):
        ratio = _ratio_by_axis(evidence.analytic, evidence.numeric, kept)
        if ratio is None:
            continue
        axes = " and ".join(map(str, kept))
        if np.all(np.isclose(ratio, 0, atol=CLOSE) | np.isclose(ratio, 1, rtol=CLOSE)):
            return f"right or zero by the index along axis {axes}: some were left out"
        for name, values in evidence.others.items():
            if values.size == ratio.size and _same(ratio.ravel() * values.ravel(), np.ones(ratio.size)):
                return f"scaled along axis {axes}: the factor {name} is missing"
            if values.size == ratio.size and _same(ratio.ravel(), values.ravel()):
                return f"scaled along axis {axes}: the factor {name} is there once too often"
        return f"scaled by a factor that varies along axis {axes} only, as a gain, a mask or 1/std does"
    return None


def _factor_of_others(evidence: Evidence) -> str | None:
    a, n = evidence.analytic, evidence.numeric
    for name, other in evidence.alike():
        if _same(a * other, n):
            return f"the factor {name} is missing"
        if _same(a, n * other):
            return f"the factor {name} is there once too often"
    return None


def _difference_by_axis(evidence: Evidence) -> str | None:
    d = evidence.difference
    for axis in range(d.ndim - 1, -1, -1):
        if d.ndim > 1 and d.shape[axis] > 1 and _same(d, np.broadcast_to(d.mean(axis, keepdims=True), d.shape)):
            return f"one term missing or extra: it is the same all along axis {axis}, as a mean or a sum over it is"
    return None


def _difference_of_others(evidence: Evidence) -> str | None:
    """a = n + term, where the term is a multiple of an array that backward passes use."""
    d = evidence.difference
    for name, other in evidence.alike():
        ratio = _common_ratio(d, other)
        if ratio is not None:
            path = " (the other path of a residual)" if name == "dy" else ""
            times = "" if math.isclose(abs(ratio), 1, rel_tol=CLOSE) else f"{abs(ratio):.6g} times "
            return f"one term {'missing' if ratio < 0 else 'extra'}: {times}{name}{path}"
        for axis in range(d.ndim - 1, -1, -1):
            if _ratio_by_axis(d, other, tuple(k for k in range(d.ndim) if k != axis)) is not None:
                return f"one term missing, extra or wrong: {name} times a number that is the same along axis {axis}"
        if _shifted_and_scaled(d, other):
            words = f"in each row a multiple of {name} less its mean, as the path through a variance is"
            return f"one term missing, extra or wrong: {words}"
    return None


def _shifted_and_scaled(d: np.ndarray, other: np.ndarray) -> bool:
    """Whether every row of d is a + b * (the row of other)."""
    if d.ndim < 2 or d.shape[-1] < 4:
        return False
    rows, basis = d.reshape(-1, d.shape[-1]), other.reshape(-1, d.shape[-1])
    centred = basis - basis.mean(axis=1, keepdims=True)
    norm = (centred**2).sum(axis=1, keepdims=True)
    slope = np.divide((rows * centred).sum(axis=1, keepdims=True), norm, out=np.zeros_like(norm), where=norm > 0)
    return _same(rows, rows.mean(axis=1, keepdims=True) + slope * centred)


def _rank_one(evidence: Evidence) -> str | None:
    d = evidence.difference
    if d.ndim < 2 or min(math.prod(d.shape[:-1]), d.shape[-1]) < 3:
        return None
    values = np.linalg.svd(d.reshape(-1, d.shape[-1]), compute_uv=False)
    if values[1] <= CLOSE * values[0]:
        return "one term missing or extra: the difference is one vector times another"
    return None


def _unknown(evidence: Evidence) -> str:
    a, n = evidence.analytic.ravel(), evidence.numeric.ravel()
    cosine = float(a @ n / (np.linalg.norm(a) * np.linalg.norm(n)))
    share = float(np.linalg.norm(a - n) / np.linalg.norm(n))
    return f"one term missing or wrong, of {share:.2g} times the gradient's norm (cosine {cosine:.4f})"


def _place(evidence: Evidence) -> str:
    """Where the wrong coordinates are, if some others are right and not merely zero."""
    wrong, n = evidence.wrong, np.abs(evidence.numeric)
    if not evidence.complete or not wrong.any() or not n[~wrong].max(initial=0.0) > 1e-6 * n.max():
        return ""
    where = np.argwhere(wrong)
    box = ", ".join(
        ":" if (low, high) == (0, size - 1) else f"{low}" if low == high else f"{low}:{high + 1}"
        for low, high, size in zip(where.min(axis=0), where.max(axis=0), evidence.shape, strict=True)
    )
    count = f"; at {len(where)} of {wrong.size} coordinate{'s' if wrong.size > 1 else ''}"
    return count if set(box) <= set(":, ") else f"{count}, all in [{box}]"
