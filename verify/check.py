"""Checking one case: every method on every tensor, and a verdict on each."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from verify.called import AnyProbe
from verify.case import Case, Tensors
from verify.complex_step import complex_step
from verify.diagnosis import Evidence, diagnose
from verify.differences import central_differences
from verify.measure import Analytic, Numeric, Part, Plan, analytic_gradient, measure, parts_of
from verify.misuse import RAISES, leaks_told
from verify.probe import NotAnalyticError, Probe
from verify.results import (
    COMPLEX,
    DIFFERENCES,
    DIRECTIONS,
    INCONCLUSIVE,
    PASS,
    STRUCTURE,
    TAYLOR,
    WRONG,
    CaseResult,
    MethodResult,
    TensorResult,
)
from verify.stateful import gradient_not_repeatable, not_repeatable, outdated
from verify.taylor import taylor_test
from verify.verdict import is_zero, judge, tolerance


def check_case(case: Case, seed: int, plan: Plan | None = None, *, cotangent: Any = None) -> CaseResult:
    """Check one case with the random numbers of `seed`."""
    return Checker(case, seed, plan, cotangent).check()


class Checker:
    """A case with its measurement, which is made once. After the backward has changed, call `check(fresh=True)`."""

    def __init__(self, case: Case, seed: int, plan: Plan | None = None, cotangent: Any = None) -> None:
        self.case, self.seed, self.plan, self.cotangent = case, seed, plan or Plan(), cotangent
        self._numeric: Numeric | None = None

    @np.errstate(all="ignore")  # overflow shows in the results
    def check(self, fresh: bool = False) -> CaseResult:
        with leaks_told(self.case.name):
            return self._check(time.perf_counter(), fresh)

    def _check(self, start: float, fresh: bool) -> CaseResult:
        rng = self.case.random(self.seed)
        probe = AnyProbe(self.case, rng, w=self.cotangent, any_float=self.plan.any_float, fresh=fresh)
        parts = parts_of(probe)
        reason = _undefined(probe) if self._numeric is None else ""
        if reason:
            return self._unknown(reason, parts, time.perf_counter() - start)
        analytic = analytic_gradient(probe)
        if self._numeric is None:
            self._numeric = measure(probe, parts, analytic, rng, self.plan)
        judged = [_Judge(probe, part, i, analytic, self._numeric).result() for i, part in enumerate(parts)]
        judged += [
            _broken(self.case.name, name, problem)
            for name, problem in analytic.problems.items()
            if name not in probe.shapes
        ]
        if not fresh:
            self._explain(probe, parts, judged)
        if self.plan.curves:
            for i, result in enumerate(judged[: len(parts)]):
                result.curve = _curve(probe, self._numeric, i, self.plan.curves)
        return CaseResult(
            self.case.name, self.case.target, self.case.contains, self.seed, judged, self._numeric.noise,
            time.perf_counter() - start, self._numeric.note,
        )  # fmt: skip

    def _explain(self, probe: AnyProbe, parts: list[Part], judged: list[TensorResult]) -> None:
        """Another diagnosis where what is wrong is not the derivative: the backward draws random numbers, or the layer
        keeps its input."""
        wrong = [result for result in judged if result.verdict == WRONG]
        if self.case.gradients is not None or not wrong or wrong[0].diagnosis.startswith(RAISES):
            return
        words = gradient_not_repeatable(probe)
        for result in wrong if words else ():
            result.diagnosis = words
        found = None if words else outdated(probe)
        if found is None or self._numeric is None:
            return
        analytic, words = found
        for i, (part, result) in enumerate(zip(parts, judged, strict=False)):
            if result.verdict == WRONG:  # what is wrong all the same is explained without that other forward
                alone = _Judge(probe, part, i, analytic, self._numeric).result()
                result.diagnosis = alone.diagnosis if alone.verdict == WRONG else words

    def _unknown(self, reason: str, parts: list[Part], seconds: float) -> CaseResult:
        """Nothing can be said of the gradient, for this reason."""
        unknown = [
            TensorResult(
                self.case.name, part.title, part.shape, len(part.index),
                methods=[MethodResult(STRUCTURE, INCONCLUSIVE, note=reason)], diagnosis=reason,
            )
            for part in parts
        ]  # fmt: skip
        case = self.case
        return CaseResult(case.name, case.target, case.contains, self.seed, unknown, 0.0, seconds, reason)


def _undefined(probe: AnyProbe) -> str:
    """Why the function has no derivative to compare with at this point; empty if it may have one."""
    if not np.isfinite(probe.output()).all():
        return "the output holds NaN or infinity at this point, so it has no derivative to compare with"
    return not_repeatable(probe)


class _Judge:
    """The verdict on one part, the `number`-th, from its analytic and its numeric gradient."""

    def __init__(self, probe: Probe, part: Part, number: int, analytic: Analytic, numeric: Numeric) -> None:
        self.probe, self.part, self.number, self.analytic, self.numeric = probe, part, number, analytic, numeric
        self.rows = np.flatnonzero(np.isin(numeric.index, part.index, assume_unique=True))
        self.index = numeric.index[self.rows]
        self.a = analytic.values[self.index]
        self.g = analytic.values[part.index]  # the whole gradient, checked or not
        largest = 0.0 if numeric.best is None else float(np.abs(numeric.best).max(initial=0.0))
        self.floor = analytic.floor(part.index, largest, probe.eps)

    def result(self) -> TensorResult:
        part, problem = self.part, self.analytic.problems.get(self.part.name)
        if problem is not None:
            return _broken(self.probe.case.name, part.title, problem, part.shape)
        result = TensorResult(self.probe.case.name, part.title, part.shape, len(part.index))
        found = list(self._coordinates())
        if self.numeric.differences is not None:
            result.kinks = int(self.numeric.differences.kinks[self.rows].sum())
        directions = list(self._directions(zero=all(method.note == ZERO for method in found)))
        result.methods = found + self._believed(found, directions, result.kinks)
        result.checked, result.floor = len(self.rows), self.floor
        result.zero = bool(found) and all(method.note == ZERO for method in found)
        result.scale = max(
            _largest(self.a), 0.0 if self.numeric.best is None else _largest(self.numeric.best[self.rows])
        )
        if result.verdict == WRONG:
            result.diagnosis = self._diagnosis(result.scale)
        return result

    def _coordinates(self) -> Iterator[MethodResult]:
        numeric, rows = self.numeric, self.rows
        at_kink = np.zeros(len(rows), bool)
        if numeric.differences is not None:  # at a kink any slope between the one-sided ones is accepted
            low, high = numeric.differences.low[rows], numeric.differences.high[rows]
            at_kink = numeric.differences.kinks[rows] & (self.a >= low) & (self.a <= high)
        if numeric.complex is not None:
            yield self._judge(COMPLEX, numeric.complex.values[rows], numeric.complex.bars(rows), at_kink)
        if numeric.differences is not None:
            yield self._judge(DIFFERENCES, numeric.differences.values[rows], numeric.differences.bars[rows], at_kink)

    def _judge(self, method: str, n: np.ndarray, bars: np.ndarray, at_kink: np.ndarray) -> MethodResult:
        if is_zero(self.a, n, bars, self.floor):
            return MethodResult(method, PASS, note=ZERO)
        largest = np.abs(self.g if len(self.a) < len(self.g) else self.a)
        scale = max(_largest(largest), _largest(n))
        bars = bars + 4 * self.analytic.spread[self.index].max(initial=0.0)
        return judge(
            method, self.a, n, bars, scale=scale, eps=self.probe.eps, skip=at_kink,
            where=lambda i: self.part.where(int(self.index[i]), self.probe),
        )  # fmt: skip

    def _directions(self, zero: bool) -> Iterator[MethodResult]:
        v = self.numeric.signs[self.number]
        if not np.isfinite(self.g).all():
            return  # reported with the coordinates
        slope, size = float(self.g @ v), float(np.linalg.norm(self.g) * np.linalg.norm(v))
        if self.numeric.taylor is not None:
            test = taylor_test(self.numeric.taylor[self.number], slope, size, self.numeric.noise, self.probe.eps)
            note = "linear" if test.linear else ""
            yield MethodResult(TAYLOR, test.verdict, rates=[float(rate) for rate in test.rates], note=note)
        if self.numeric.along is not None:
            n, bar = self.numeric.along.values[[self.number]], self.numeric.along.bars(np.array([self.number]))
            bar = bar + 16 * self.probe.eps * size
            scale = float(np.linalg.norm(self.g * v))
            if zero and abs(n[0]) <= bar[0] + self.floor * np.linalg.norm(v):
                yield MethodResult(DIRECTIONS, PASS, note=ZERO)
            else:
                yield judge(DIRECTIONS, np.array([slope]), n, bar, scale=scale or abs(float(n[0])), eps=self.probe.eps)

    def _believed(
        self, coordinates: list[MethodResult], directions: list[MethodResult], kinks: int
    ) -> list[MethodResult]:
        """The directions; those that crossed a kink of the function prove nothing and become inconclusive."""
        every = len(self.rows) == len(self.part.index)
        fine = any(m.verdict == PASS for m in directions + (coordinates if every else []))
        fine |= every and bool(coordinates) and not any(m.verdict == WRONG for m in coordinates)
        for method in directions:
            if kinks or (method.method == TAYLOR and method.verdict == WRONG and fine):
                method.verdict, method.note = INCONCLUSIVE, "crosses a kink"
        return directions

    def _diagnosis(self, scale: float) -> str:
        best, shape = self.numeric.best, self.probe.shapes[self.part.name]
        if best is None or not len(self.rows):
            return "the remainder of the Taylor test falls too slowly"
        n, sizes = best[self.rows], self.probe.case.sizes
        wrong = ~(np.abs(self.a - n) <= 10 * tolerance(COMPLEX, self.probe.eps) * scale)
        if len(self.rows) < len(self.part.index):
            return diagnose(Evidence(self.a, n, wrong, shape, sizes))
        shape = self.part.shape
        a, n, wrong = self.a.reshape(shape), n.reshape(shape), wrong.reshape(shape)
        if self.part.region:
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
                alone = complex_step(self.probe, self.index, self.probe.scale[self.index], again=False, w=w)
            except NotAnalyticError:
                return
            yield name, alone.values.reshape(self.part.shape)


ZERO = "zero by theory"


def _broken(case: str, name: str, problem: str, shape: tuple[int, ...] = ()) -> TensorResult:
    """A result that is wrong before any number is compared."""
    methods = [MethodResult(STRUCTURE, WRONG, note=problem)]
    return TensorResult(case, name, shape, math.prod(shape), methods=methods, diagnosis=problem)


def _largest(array: np.ndarray) -> float:
    """The largest magnitude among the finite numbers."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _curve(probe: Probe, numeric: Numeric, number: int, count: int) -> list[tuple[float, float]]:
    """The relative error of plain central differences along a part's direction, at `count` steps from 1 to 2^-45."""
    line, h = np.array([-1 - number]), 2.0 ** -np.linspace(0, 45, count)
    if numeric.along is not None:
        exact = numeric.along.values[number]
    else:
        exact = central_differences(probe, line, np.ones(1), numeric.noise).values[0]
    if abs(exact) < 1e3 * numeric.noise:  # zero by theory
        return []
    d = probe.differences(line, np.concatenate([h, -h])[None])[0]
    errors = np.abs((d[:count] - d[count:]) / (2 * h) / exact - 1)
    return [(float(step), float(error)) for step, error in zip(h, errors, strict=True)]
