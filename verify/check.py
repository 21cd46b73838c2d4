"""Checking one case: every method on every tensor, and a verdict on each.

`check` takes any function and its hand-derived gradient, `check_layer` any object with `init`, `forward` and
`backward`. Both return a `CaseResult`: `passed`, `verdict` and `tensors` for programs, `str()` for people.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from verify.case import Case, PlainFunction, Regions, Tensors, named
from verify.differences import central_differences
from verify.judge import broken, judge_all
from verify.layer import Layer, draw_params, layer_case
from verify.measure import Numeric, Part, Plan, analytic_gradient, measure, measure_again, parts_of
from verify.probe import Probe
from verify.results import (
    INCONCLUSIVE,
    PASS,
    STRUCTURE,
    CaseResult,
    MethodResult,
    TensorResult,
)
from verify.rounding import gradient_rounding


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
