"""From the pattern of a disagreement to the kind of mistake.

A wrong gradient is rarely random. A forgotten factor leaves a constant ratio, a forgotten mean leaves a difference
that is the same along an axis, a gradient from one image alone equals what is left when the others' cotangents are set
to zero. Each rule below looks for one such pattern and answers with a sentence; the first that fits is the diagnosis.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

CLOSE = 1e-6  # relative to the largest number: two patterns are the same


@dataclass(frozen=True)
class Evidence:
    """What is known of a wrong gradient.

    Attributes:
        analytic, numeric: the whole tensor where every coordinate was checked, else the sampled coordinates, (m,).
        where: the wrong coordinates, (m, ndim).
        shape: of the tensor.
        sizes: what a wrong factor may be made of, as in `{"B": 3, "K": 6}`.
        others: arrays with a name that the difference may be made of: the input, the output, the cotangent.
        only: for a name like "image 0", the numeric gradient (shaped as `numeric`) when all else has no cotangent.
    """

    analytic: np.ndarray
    numeric: np.ndarray
    where: np.ndarray
    shape: tuple[int, ...]
    sizes: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    only: Callable[[], Iterator[tuple[str, np.ndarray]]] | None = None

    @property
    def whole(self) -> bool:
        """Every coordinate is known."""
        return self.numeric.shape == self.shape

    @property
    def difference(self) -> np.ndarray:
        return self.analytic - self.numeric


def diagnose(evidence: Evidence) -> str:
    """One sentence: the kind of mistake, and where it is if it is not everywhere."""
    whole_only = (_transposed, _permuted, _one_of_many, _factor_by_axis, _missing_term, _rank_one)
    rules: tuple[Callable[[Evidence], str | None], ...] = (_not_finite, _zero, _not_zero, _factor)
    for rule in rules + (whole_only if evidence.whole else ()):
        found = rule(evidence)
        if found:
            return found + _place(evidence)
    return _unknown(evidence) + _place(evidence)


def _not_finite(evidence: Evidence) -> str | None:
    return None if np.isfinite(evidence.analytic).all() else "not finite (NaN or infinity)"


def _zero(evidence: Evidence) -> str | None:
    if evidence.analytic.any():
        return None
    return "zero: this gradient was forgotten, or overwritten"


def _not_zero(evidence: Evidence) -> str | None:
    if np.abs(evidence.numeric).max() > CLOSE * np.abs(evidence.analytic).max():
        return None
    return "should be zero: the output does not depend on this tensor"


def _factor(evidence: Evidence) -> str | None:
    ratio = _common_ratio(evidence.analytic, evidence.numeric)
    return None if ratio is None else name_factor(ratio, evidence.sizes)


def _common_ratio(a: np.ndarray, n: np.ndarray) -> float | None:
    """r with a = r n everywhere, if there is one."""
    norm = float(np.vdot(n, n))
    if not norm:
        return None
    ratio = float(np.vdot(n, a)) / norm
    return ratio if _same(a, ratio * n) and ratio else None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= CLOSE * max(np.abs(a).max(), np.abs(b).max()))


def name_factor(ratio: float, sizes: Mapping[str, float]) -> str:
    """`ratio` in words, from the sizes of the case: "too small by the factor 1/sqrt(K)" and the like."""
    if math.isclose(ratio, -1, rel_tol=CLOSE):
        return "sign flipped"
    sign = "sign flipped and " if ratio < 0 else ""
    names = [name for name, value in _factors(sizes) if math.isclose(abs(ratio), value, rel_tol=CLOSE)]
    if not names:
        return f"{sign}scaled by {abs(ratio):.6g}, which is no size of this case"
    return f"{sign}scaled by {' = '.join(names[:3])}"


def _factors(sizes: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    yield from (("2", 2.0), ("1/2", 0.5))
    for name, value in sizes.items():
        yield from ((name, value), (f"1/{name}", 1 / value))
    for name, value in sizes.items():
        yield from ((f"sqrt({name})", math.sqrt(value)), (f"1/sqrt({name})", 1 / math.sqrt(value)))
    for (first, x), (second, y) in itertools.combinations(sizes.items(), 2):
        yield from (
            (f"{first} {second}", x * y), (f"1/({first} {second})", 1 / (x * y)), (f"{first}/{second}", x / y),
            (f"{second}/{first}", y / x),
        )  # fmt: skip
    for name, value in sizes.items():
        if value > 1:
            yield from ((f"({name} - 1)/{name}", (value - 1) / value), (f"{name}/({name} - 1)", value / (value - 1)))


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
                times = "" if math.isclose(ratio, 1, rel_tol=CLOSE) else f", and {name_factor(ratio, evidence.sizes)}"
                return f"transposed: {words}{times}"
    return None


def _permuted(evidence: Evidence) -> str | None:
    a, n = np.sort(evidence.analytic, axis=None), np.sort(evidence.numeric, axis=None)
    if a.size > 2 and _same(a, n):
        return "the right numbers in the wrong places: reshaped or transposed in another order than in the forward"
    if a.size > 2 and _same(np.abs(evidence.analytic), np.abs(evidence.numeric)):
        return "sign flipped"
    return None


def _one_of_many(evidence: Evidence) -> str | None:
    if evidence.only is None:
        return None
    for name, alone in evidence.only():
        ratio = _common_ratio(evidence.analytic, alone) if alone.any() else None
        if ratio is not None and not _same(alone, evidence.numeric):
            times = "" if math.isclose(ratio, 1, rel_tol=CLOSE) else f", {name_factor(ratio, evidence.sizes)}"
            return f"not summed: only {name} was counted{times}"
    return None


def _factor_by_axis(evidence: Evidence) -> str | None:
    """a = r n where r depends on some axes only: a vector that should multiply (or should not)."""
    a, n = evidence.analytic, evidence.numeric
    for kept in itertools.chain.from_iterable(itertools.combinations(range(a.ndim), k) for k in range(1, a.ndim)):
        rest = tuple(axis for axis in range(a.ndim) if axis not in kept)
        if np.prod([a.shape[axis] for axis in rest]) < 2:
            continue
        norm = (n * n).sum(axis=rest, keepdims=True)
        ratio = np.divide((a * n).sum(axis=rest, keepdims=True), norm, out=np.zeros_like(norm), where=norm > 0)
        if _same(a, ratio * n):
            axes = " and ".join(map(str, kept))
            if np.all(np.isclose(ratio, 0, atol=CLOSE) | np.isclose(ratio, 1, rtol=CLOSE)):
                dropped = int(np.isclose(ratio, 0, atol=CLOSE).sum())
                return f"right or zero by the index along axis {axes}: {dropped} of {ratio.size} were left out"
            words = f"scaled by a factor that depends on axis {axes} alone: a vector such as gamma or a mask is missing"
            for name, values in evidence.others.items():
                if values.size == ratio.size:
                    for power, said in ((-1, "missing"), (1, "applied once too often")):
                        with np.errstate(divide="ignore"):
                            if _same(ratio.ravel(), values.ravel() ** float(power)):
                                return f"scaled along axis {axes}: the factor {name} is {said}"
            return words
    return None


def _missing_term(evidence: Evidence) -> str | None:
    """a = n - term, with a term of a form that backward passes are made of."""
    d = evidence.difference
    if d.ndim > 1:
        for axis in range(d.ndim - 1, -1, -1):
            if d.shape[axis] > 1 and _same(d, np.broadcast_to(d.mean(axis=axis, keepdims=True), d.shape)):
                return f"one term missing or extra, the same all along axis {axis}, as a mean or a sum over it is"
    for name, other in evidence.others.items():
        if other.shape != d.shape:
            continue
        ratio = _common_ratio(d, other)
        if ratio is not None:
            what = "missing" if ratio < 0 else "extra"
            return f"one term {what}: {abs(ratio):.6g} times {name}" + (
                " (the path of a residual branch)" if name == "dy" else ""
            )
        by_row = _by_row(d, other)
        if by_row is not None:
            return f"one term missing or extra: {name} times one number for each row"
    return None


def _by_row(d: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    if d.ndim < 2 or d.shape[-1] < 3:
        return None
    norm = (other * other).sum(axis=-1, keepdims=True)
    ratio = np.divide((d * other).sum(axis=-1, keepdims=True), norm, out=np.zeros_like(norm), where=norm > 0)
    return ratio if _same(d, ratio * other) else None


def _rank_one(evidence: Evidence) -> str | None:
    d = evidence.difference
    if d.ndim < 2 or min(d.reshape(d.shape[0], -1).shape) < 3:
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
    """Where the wrong coordinates are, unless they are everywhere."""
    if not evidence.whole or not len(evidence.where) or len(evidence.where) == evidence.numeric.size:
        return ""
    low, high = evidence.where.min(axis=0), evidence.where.max(axis=0)
    box = ", ".join(
        ":" if (a, b) == (0, size - 1) else f"{a}" if a == b else f"{a}:{b + 1}"
        for a, b, size in zip(low, high, evidence.shape, strict=True)
    )
    told = f"; at {len(evidence.where)} of {evidence.numeric.size} coordinates"
    return told if set(box) <= set(":, ") else f"{told}, all in [{box}]"
