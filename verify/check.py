"""Checking one case: every method on every tensor, and a verdict on each."""

import time
from typing import Any

import numpy as np

from verify.analytic import analytic_gradient
from verify.called import AnyProbe
from verify.case import Case
from verify.differences import central_differences
from verify.judge import Judge, broken, judge_all
from verify.measure import Numeric, Part, Plan, measure, measure_again, parts_of
from verify.misuse import RAISES, leaks_told
from verify.probe import Probe
from verify.results import INCONCLUSIVE, PASS, STRUCTURE, WRONG, CaseResult, MethodResult, TensorResult
from verify.rounding import gradient_rounding
from verify.stateful import gradient_not_repeatable, not_repeatable, outdated


def check_case(case: Case, seed: int, plan: Plan | None = None, *, cotangent: Any = None) -> CaseResult:
    """Check one case with the random numbers of `seed`."""
    return Checker(case, seed, plan, cotangent).check()


class Checker:
    """A case with its measurement, which is made once. After the backward has changed, call `check(fresh=True)`."""

    def __init__(self, case: Case, seed: int, plan: Plan | None = None, cotangent: Any = None) -> None:
        self.case, self.seed, self.plan, self.cotangent = case, seed, plan or Plan(), cotangent
        self._numeric: Numeric | None = None
        self._rounded: Numeric | None = None  # the same with error bars that know every rounding

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
        numeric = self._numeric
        judged = judge_all(probe, parts, analytic, numeric)
        if any(result.verdict != PASS for result in judged) and not analytic.raised:
            if self._rounded is None:
                self._rounded = measure_again(probe, parts, numeric, self.plan)
            numeric = self._rounded
            analytic = analytic_gradient(probe, gradient_rounding(probe))
            judged = judge_all(probe, parts, analytic, numeric)
        judged += [
            broken(self.case.name, name, problem)
            for name, problem in analytic.problems.items()
            if name not in probe.shapes
        ]
        if not fresh:
            self._explain(probe, parts, judged, numeric)
        if self.plan.curves:
            for i, result in enumerate(judged[: len(parts)]):
                result.curve = _curve(probe, numeric, i, self.plan.curves)
        return CaseResult(
            self.case.name, self.case.target, self.case.contains, self.seed, judged, numeric.noise,
            time.perf_counter() - start, numeric.note,
        )  # fmt: skip

    def _explain(self, probe: AnyProbe, parts: list[Part], judged: list[TensorResult], numeric: Numeric) -> None:
        """Another diagnosis where what is wrong is not the derivative: the backward draws random numbers, or the layer
        keeps its input."""
        wrong = [result for result in judged if result.verdict == WRONG]
        if self.case.gradients is not None or not wrong or wrong[0].diagnosis.startswith(RAISES):
            return
        words = gradient_not_repeatable(probe)
        for result in wrong if words else ():
            result.diagnosis = words
        found = None if words else outdated(probe)
        if found is None:
            return
        analytic, words = found
        for i, (part, result) in enumerate(zip(parts, judged, strict=False)):
            if result.verdict == WRONG:  # what is wrong all the same is explained without that other forward
                alone = Judge(probe, part, i, analytic, numeric).result()
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
