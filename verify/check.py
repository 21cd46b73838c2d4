"""Checking one case: every method on every tensor, and a verdict on each.

`check` takes any function and its hand-derived gradient, `check_layer` any object with `init`, `forward` and
`backward`. Both return a `CaseResult`: `passed`, `verdict` and `tensors` for programs, `str()` for people.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from verify.case import Case, PlainFunction, Regions, Tensors, named
from verify.complex_step import complex_step
from verify.diagnosis import Evidence, diagnose
from verify.differences import central_differences
from verify.layer import Layer, draw_params, layer_case
from verify.measure import Analytic, Numeric, Part, Plan, analytic_gradient, measure, measure_again, parts_of
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
    CaseResult,
    MethodResult,
    TensorResult,
)
from verify.rounding import gradient_rounding
from verify.taylor import taylor_test
from verify.verdict import is_zero, judge, norm, rounding_share, tolerance


def check(
    f: Callable[[Any], jax.Array], x: Any, analytic: Any, *, seed: int = 0, cotangent: Any = None,
    plan: Plan | None = None, name: str = "f", sizes: dict[str, float] | None = None,
) -> CaseResult:  # fmt: skip
    """Check the gradient of `f` at `x`, a float64 array or a tree of them.

    `analytic(x, dy)` returns the gradient of `sum(dy * f(x))` as a tree like `x`; where `f` returns one number,
    `analytic` may be the gradient itself. `dy` is drawn from the seed unless `cotangent` gives it. `sizes` are numbers
    that a wrong factor may be made of; the diagnosis names them.

    Raises:
        PrecisionError: anything is not float64, and `plan.any_float` does not allow it.
        CheckError: there is nothing to differentiate.
    """

    def gradient(x: Any, dy: jax.Array) -> Any:
        if callable(analytic):
            return analytic(x, dy)
        if dy.shape != ():
            raise TypeError("f returns an array: give analytic(x, dy), a function of x and the cotangent")
        return jax.tree.map(lambda leaf: dy * leaf, analytic)

    case = Case(name, PlainFunction(f, gradient, jax.tree.structure(x)), named(x), sizes=sizes or {})
    return check_case(case, seed, plan, cotangent=cotangent)


def check_layer(
    layer: Layer, x_shape: tuple[int, ...], seed: int = 0, *, train: bool = False, plan: Plan | None = None,
    regions: Callable[[Tensors], Regions] | None = None,
) -> CaseResult:  # fmt: skip
    """Check a layer's `backward` at random parameters and a random input of shape `x_shape`.

    `layer` is any hashable object with `init(key) -> params`, `forward(params, x, key) -> (y, cache)` and
    `backward(params, cache, dy) -> (dx, grads)`. The parameters are those of `init` plus noise. With `train` the layer
    gets a PRNG key, so that dropout acts, with the same mask throughout. `regions(tensors)` names the parts of tensors
    that are judged separately, as in `{"qkv/b": (("queries", (slice(0, 8),)), ...)}`.

    Raises:
        PrecisionError: anything is not float64, and `plan.any_float` does not allow it.
        CheckError: there is nothing to differentiate, or the layer cannot be checked.
    """
    rng, name = np.random.default_rng(seed), type(layer).__name__
    case = layer_case(name, layer, draw_params(layer, rng), x_shape, rng, train=train, regions=regions)
    return check_case(case, seed, plan)


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
        start = time.perf_counter()
        rng = self.case.random(self.seed)
        probe = Probe(self.case, rng, w=self.cotangent, any_float=self.plan.any_float, fresh=fresh)
        parts = parts_of(probe)
        if not np.isfinite(probe.output()).all():
            return self._undefined(parts, time.perf_counter() - start)
        analytic = analytic_gradient(probe)
        if self._numeric is None:
            self._numeric = measure(probe, parts, analytic, rng, self.plan)
        numeric = self._numeric
        judged = _judge_all(probe, parts, analytic, numeric)
        if any(result.verdict != PASS for result in judged) and not analytic.raised:
            if self._rounded is None:
                self._rounded = measure_again(probe, parts, numeric, self.plan)
            numeric = self._rounded
            analytic = analytic_gradient(probe, gradient_rounding(probe))
            judged = _judge_all(probe, parts, analytic, numeric)
        judged += [
            _broken(self.case.name, name, problem)
            for name, problem in analytic.problems.items()
            if name not in probe.shapes
        ]
        if self.plan.curves:
            for i, result in enumerate(judged[: len(parts)]):
                result.curve = _curve(probe, numeric, i, self.plan.curves)
        return CaseResult(
            self.case.name, self.case.target, self.case.contains, self.seed, judged, numeric.noise,
            time.perf_counter() - start, numeric.note,
        )  # fmt: skip

    def _undefined(self, parts: list[Part], seconds: float) -> CaseResult:
        """The function has no finite value at this point, so nothing can be said of its gradient."""
        reason = "the output holds NaN or infinity at this point, so it has no derivative to compare with"
        unknown = [
            TensorResult(
                self.case.name, part.title, part.shape, len(part.index),
                methods=[MethodResult(STRUCTURE, INCONCLUSIVE, note=reason)], diagnosis=reason,
            )
            for part in parts
        ]  # fmt: skip
        case = self.case
        return CaseResult(case.name, case.target, case.contains, self.seed, unknown, 0.0, seconds, reason)


def _judge_all(probe: Probe, parts: list[Part], analytic: Analytic, numeric: Numeric) -> list[TensorResult]:
    return [_Judge(probe, part, i, analytic, numeric).result() for i, part in enumerate(parts)]


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
        # What is moved has a size, so that the gradients of different tensors can be compared.
        reach = 0.0 if numeric.best is None else float(np.abs(numeric.best * probe.scale[numeric.index]).max(initial=0))
        self.limit = rounding_share(probe.eps) * reach / float(probe.scale[part.index].max(initial=0.0) or 1.0)

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
        if result.verdict == INCONCLUSIVE:
            result.diagnosis = self._uncertainty(result)
        return result

    def _uncertainty(self, result: TensorResult) -> str:
        """Why nothing can be said."""
        if self.numeric.doubtful[self.rows].any():
            return "the complex step and the differences contradict each other, and the gradient agrees with the first"
        bars = [method.bar * result.scale for method in result.methods if method.bar is not None]
        if not bars:
            return "no method can tell at this point"
        return f"error bars of {min(bars):.0e} or more, where the largest gradient is {result.scale:.0e}"

    def _coordinates(self) -> Iterator[MethodResult]:
        numeric, rows = self.numeric, self.rows
        at_kink = np.zeros(len(rows), bool)
        if numeric.differences is not None:  # at a kink any slope between the one-sided ones is accepted
            low, high = numeric.differences.low[rows], numeric.differences.high[rows]
            at_kink = numeric.differences.kinks[rows] & (self.a >= low) & (self.a <= high)
        if numeric.complex is not None:
            bars = numeric.complex.bars(rows)
            yield self._judge(COMPLEX, numeric.complex.values[rows], bars, bars, at_kink)
        if numeric.differences is not None:
            found = numeric.differences
            yield self._judge(DIFFERENCES, found.values[rows], found.bars[rows], found.rounding[rows], at_kink)

    def _judge(
        self, method: str, n: np.ndarray, bars: np.ndarray, rounding: np.ndarray, at_kink: np.ndarray
    ) -> MethodResult:
        if is_zero(self.a, n, bars, self.floor, self.limit):
            return MethodResult(method, PASS, note=ZERO)
        largest = np.abs(self.g if len(self.a) < len(self.g) else self.a)
        scale = max(_largest(largest), _largest(n))
        own = 4 * self.analytic.spread[self.index].max(initial=0.0)
        doubtful = self.numeric.doubtful[self.rows] if method == DIFFERENCES else None
        return judge(
            method, self.a, n, bars + own, scale=scale, eps=self.probe.eps, rounding=rounding + own, skip=at_kink,
            doubtful=doubtful, where=lambda i: self.part.where(int(self.index[i]), self.probe),
        )  # fmt: skip

    def _directions(self, zero: bool) -> Iterator[MethodResult]:
        v = self.numeric.signs[self.number]
        if not np.isfinite(self.g).all():
            return  # reported with the coordinates
        typical, size = norm(self.g * v), norm(self.g) * norm(v)
        slope, error = float(self.g @ v), 4 * norm(self.analytic.spread[self.part.index] * v)
        if self.numeric.taylor is not None:
            found = self.numeric.taylor[self.number]
            test = taylor_test(found, slope, size, self.numeric.noise, self.probe.eps, typical=typical, error=error)
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
