"""The verdict on each tensor of a case: what every method says, whether to believe it, and the diagnosis."""

import math
from collections.abc import Iterator

import numpy as np

from verify.analytic import Analytic
from verify.case import Tensors
from verify.complex_step import complex_step
from verify.diagnosis import Evidence, diagnose
from verify.measure import Numeric, Part
from verify.probe import Probe
from verify.programs import NotAnalyticError
from verify.results import (
    COMPLEX,
    DIFFERENCES,
    DIRECTIONS,
    INCONCLUSIVE,
    PASS,
    STRUCTURE,
    TAYLOR,
    WRONG,
    MethodResult,
    TensorResult,
)
from verify.taylor import taylor_test
from verify.verdict import DOUBT, is_zero, judge, norm, rounding_share, tolerance

ZERO = "zero by theory"


def judge_all(probe: Probe, parts: list[Part], analytic: Analytic, numeric: Numeric) -> list[TensorResult]:
    """The verdicts on all parts."""
    return [Judge(probe, part, i, analytic, numeric).result() for i, part in enumerate(parts)]


class Judge:
    """The verdict on one part, the `number`-th, from its analytic and its numeric gradient."""

    def __init__(self, probe: Probe, part: Part, number: int, analytic: Analytic, numeric: Numeric) -> None:
        self.probe, self.part, self.number, self.analytic, self.numeric = probe, part, number, analytic, numeric
        self.rows = np.flatnonzero(np.isin(numeric.index, part.index, assume_unique=True))
        self.index = numeric.index[self.rows]
        self.a = analytic.values[self.index]
        self.g = analytic.values[part.index]  # the whole gradient, checked or not
        largest = 0.0 if numeric.best is None else float(np.abs(numeric.best).max(initial=0.0))
        self.floor = analytic.floor(part.index, largest, probe.eps)
        # What is moved has a size, so that the gradients of different tensors can be compared.
        reach = 0.0 if numeric.best is None else float(np.abs(numeric.best * probe.scale[numeric.index]).max(initial=0))
        self.limit = rounding_share(probe.eps) * reach / float(probe.scale[part.index].max(initial=0.0) or 1.0)

    def result(self) -> TensorResult:
        part, problem = self.part, self.analytic.problems.get(self.part.name)
        if problem is not None:
            return broken(self.probe.case.name, part.title, problem, part.shape)
        result = TensorResult(self.probe.case.name, part.title, part.shape, len(part.index))
        found = list(self._coordinates())
        if self.numeric.differences is not None:
            result.kinks = int(self.numeric.differences.kinks[self.rows].sum())
        directions = list(self._directions(zero=all(method.note == ZERO for method in found)))
        result.methods = found + self._believed(found, directions, result.kinks)
        if len(self.rows) < len(self.part.index) and directions and {m.verdict for m in directions} == {INCONCLUSIVE}:
            for method in found:  # a sample says nothing of the rest
                method.verdict = INCONCLUSIVE if method.verdict == PASS else method.verdict
        if any(method.note == DOUBT and method.verdict == INCONCLUSIVE for method in found):
            for method in result.methods:  # the directions are not as precise as this contradiction
                method.verdict = INCONCLUSIVE if method.verdict == PASS else method.verdict
        result.checked, result.floor = len(self.rows), self.floor
        result.zero = bool(found) and all(method.note == ZERO for method in found)
        result.scale = max(
            _largest(self.a), 0.0 if self.numeric.best is None else _largest(self.numeric.best[self.rows])
        )
        if result.verdict == WRONG:
            result.diagnosis = self._diagnosis(result.scale)
        if result.verdict == INCONCLUSIVE:
            result.diagnosis = self._uncertainty(result)
        return result

    def _uncertainty(self, result: TensorResult) -> str:
        """Why nothing can be said."""
        if any(method.note == DOUBT for method in result.methods):
            return "the complex step and the differences contradict each other, and the gradient agrees with the former"
        bar = min(
            (method.bar * result.scale for method in result.methods if method.bar is not None), default=self.floor
        )
        if bar < result.scale:
            return f"rounding errors of {bar:.0e}, where the largest gradient is {result.scale:.0e}"
        return (
            f"all gradients here are zero or lost in rounding errors (of {bar:.0e}), and so might a wrong one be: "
            "choose another point or cotangent"
        )

    def _coordinates(self) -> Iterator[MethodResult]:
        numeric, rows = self.numeric, self.rows
        at_kink = np.zeros(len(rows), bool)
        if numeric.differences is not None:  # at a kink any slope between the one-sided ones is accepted
            low, high = numeric.differences.low[rows], numeric.differences.high[rows]
            at_kink = numeric.differences.kinks[rows] & (self.a >= low) & (self.a <= high)
        found, exact = numeric.differences, numeric.complex
        if found is None or exact is None:
            apart = np.zeros(len(rows))
        else:
            apart = np.abs(exact.values[rows] - found.values[rows])
        if exact is not None:  # where the differences cannot confirm it, either may be right
            bars = np.where(numeric.unsettled[rows], np.maximum(exact.bars(rows), apart), exact.bars(rows))
            yield self._judge(COMPLEX, exact.values[rows], bars, bars, at_kink)
        if found is not None:  # nor do they convict a gradient that the complex step confirms
            bars = found.bars[rows]
            if exact is not None:
                confirmed = np.abs(self.a - exact.values[rows]) <= rounding_share(self.probe.eps) * _largest(self.a)
                bars = np.where(confirmed, np.maximum(bars, apart), bars)
            yield self._judge(DIFFERENCES, found.values[rows], bars, found.rounding[rows], at_kink)

    def _judge(
        self, method: str, n: np.ndarray, bars: np.ndarray, rounding: np.ndarray, at_kink: np.ndarray
    ) -> MethodResult:
        if is_zero(self.a, n, bars, self.floor, self.limit):
            return MethodResult(method, PASS, note=ZERO)
        largest = np.abs(self.g if len(self.a) < len(self.g) else self.a)
        scale = max(_largest(largest), _largest(n))
        own = 4 * self.analytic.spread[self.index].max(initial=0.0)
        other = self.numeric.contradicted[self.rows] if method == DIFFERENCES else None
        return judge(
            method, self.a, n, bars + own, scale=scale, eps=self.probe.eps, rounding=rounding + own, skip=at_kink,
            other=other, where=lambda i: self.part.where(int(self.index[i]), self.probe),
        )  # fmt: skip

    def _directions(self, zero: bool) -> Iterator[MethodResult]:
        v = self.numeric.signs[self.number]
        if not np.isfinite(self.g).all():
            return  # reported with the coordinates
        typical, size = norm(self.g * v), norm(self.g) * norm(v)
        slope, error = float(self.g @ v), 4 * norm(self.analytic.spread[self.part.index] * v)
        rounding = norm(self.g) * norm(self.probe.point_rounding(np.abs(v)))
        if self.numeric.taylor is not None:
            found = self.numeric.taylor[self.number]
            noise, error_of_slope = self.numeric.noise + rounding, 4 * self.probe.eps * size + error
            test = taylor_test(found, slope, typical, noise, error_of_slope, self.probe.eps)
            note = "linear" if test.linear else "lost in rounding" if test.rounding_only else ""
            yield MethodResult(TAYLOR, test.verdict, rates=[float(rate) for rate in test.rates], note=note)
        if self.numeric.along is not None:
            n, bar = self.numeric.along.values[[self.number]], self.numeric.along.bars(np.array([self.number]))
            bar = bar + 16 * self.probe.eps * size + error
            if zero and abs(n[0]) <= bar[0] + self.floor * norm(v):
                yield MethodResult(DIRECTIONS, PASS, note=ZERO)
            else:
                slopes, scale = np.array([slope]), typical or abs(float(n[0]))
                yield judge(DIRECTIONS, slopes, n, bar, scale=scale, eps=self.probe.eps, rounding=bar)

    def _believed(
        self, coordinates: list[MethodResult], directions: list[MethodResult], kinks: int
    ) -> list[MethodResult]:
        """The directions; those that crossed a kink of the function prove nothing and become inconclusive."""
        every = len(self.rows) == len(self.part.index)
        fine = any(m.verdict == PASS for m in directions + (coordinates if every else []))
        fine |= every and bool(coordinates) and not any(m.verdict == WRONG or m.note == DOUBT for m in coordinates)
        unsettled = bool(self.numeric.unsettled[self.rows].any())
        for method in directions:
            if unsettled and method.verdict == WRONG:
                method.verdict = INCONCLUSIVE
            if kinks or (method.method == TAYLOR and method.verdict == WRONG and fine):
                method.verdict, method.note = INCONCLUSIVE, "crosses a kink"
        return directions

    def _diagnosis(self, scale: float) -> str:
        best, shape = self.numeric.best, self.probe.shapes[self.part.name]
        if best is None or not len(self.rows):
            return "the remainder of the Taylor test falls too slowly"
        unit = _unit(scale)
        a, n, sizes = self.a / unit, best[self.rows] / unit, self.probe.case.sizes
        wrong = ~(np.abs(a - n) <= 10 * tolerance(COMPLEX, self.probe.eps) * scale / unit)
        if len(self.rows) < len(self.part.index):
            return diagnose(Evidence(a, n, wrong, shape, sizes))
        shape = self.part.shape
        a, n, wrong = a.reshape(shape), n.reshape(shape), wrong.reshape(shape)
        if self.part.region or unit != 1:
            return diagnose(Evidence(a, n, wrong, shape, sizes))
        return diagnose(Evidence(a, n, wrong, shape, sizes, self._others(), self._alone))

    def _others(self) -> Tensors:
        """Arrays that a missing term may be made of."""
        tensors = {name: np.asarray(array, np.float64) for name, array in self.probe.case.tensors.items()}
        return {"dy": self.probe.w, "the output": self.probe.output(), **tensors}

    def _alone(self) -> Iterator[tuple[str, np.ndarray]]:
        """The numeric gradient if the cotangent is zero except at one index of the first axis (an image), one index of
        the second (a token), or one row."""
        lengths = self.probe.output_shape[:-1]
        places = [((slice(None),) * axis + (i,), f"{what} {i}") for axis, what in enumerate(("image", "token"))
                  for i in range(min(lengths[axis], 16) if axis < len(lengths) else 0)]  # fmt: skip
        if len(lengths) > 1:
            places += [((0,) * len(lengths), "the first row"), ((-1,) * len(lengths), "the last row")]
        for place, name in places:
            w = np.zeros_like(self.probe.w)
            w[place] = self.probe.w[place]
            try:
                alone = complex_step(self.probe, self.index, self.probe.own[self.index], again=False, w=w)
            except NotAnalyticError:
                return
            yield name, alone.values.reshape(self.part.shape)


def broken(case: str, name: str, problem: str, shape: tuple[int, ...] = ()) -> TensorResult:
    """A result that is wrong before any number is compared."""
    methods = [MethodResult(STRUCTURE, WRONG, note=problem)]
    return TensorResult(case, name, shape, math.prod(shape), methods=methods, diagnosis=problem)


def _unit(scale: float) -> float:
    """What to divide by before numbers of this size are squared: a power of two, 1 unless they are extreme."""
    return 1.0 if 1e-100 < scale < 1e100 or not scale else 2.0 ** np.clip(np.frexp(scale)[1], -1021, 1022)


def _largest(array: np.ndarray) -> float:
    """The largest magnitude among the finite numbers."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
