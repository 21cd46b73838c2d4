"""The two sides of a check: the analytic gradient, which is derived by hand, and the numeric one, which is measured.

The numeric side does not depend on the analytic one, so one measurement serves a hundred planted mistakes.
"""

from dataclasses import dataclass

import numpy as np

from verify.case import Region
from verify.complex_step import ComplexEstimates, complex_step
from verify.diagnosis import wrong_shape
from verify.differences import (
    FIRST,
    LEVELS,
    Estimates,
    central_differences,
    largest_of,
    measure_noise,
    second_opinion,
)
from verify.errors import CheckError
from verify.misuse import raised
from verify.probe import MULTIPLE, Probe
from verify.programs import NotAnalyticError
from verify.results import COMPLEX, DIFFERENCES, TAYLOR
from verify.rounding import complex_rounding, value_rounding
from verify.taylor import STEPS
from verify.verdict import tolerance

METHODS = (COMPLEX, DIFFERENCES, TAYLOR)


@dataclass(frozen=True)
class Plan:
    """How thoroughly to check.

    Attributes:
        coordinates: how many to check of each tensor: the one with the largest gradient, others at random; None: all.
        methods: any of complex step, differences, Taylor.
        levels, first: steps of the sweep, see verify/differences.py.
        any_float: check in the precision of the tensors, even if it is not float64.
        curves: at how many steps to record the error of plain central differences, for a figure.
    """

    coordinates: int | None = None
    methods: tuple[str, ...] = METHODS
    levels: int = LEVELS
    first: int = FIRST
    any_float: bool = False
    curves: int = 0


@dataclass(frozen=True)
class Part:
    """A tensor or a region of one: it gets one verdict."""

    name: str  # of the tensor
    title: str
    region: Region
    shape: tuple[int, ...]
    index: np.ndarray  # (size,), its coordinates in the probe's flat vector

    def where(self, coordinate: int, probe: Probe) -> tuple[int, ...]:
        """The index of a coordinate in its tensor."""
        place = np.unravel_index(coordinate - probe.span[self.name].start, probe.shapes[self.name])
        return tuple(int(k) for k in place)


def parts_of(probe: Probe) -> list[Part]:
    parts = []
    for name in probe.names:
        span, shape = probe.span[name], probe.shapes[name]
        places = np.arange(span.start, span.stop).reshape(shape)
        for label, region in probe.case.regions.get(name, (("", ()),)):
            inside = places[region]
            parts.append(Part(name, f"{name} {label}".strip(), region, inside.shape, inside.ravel()))
    return parts


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
    """The gradient, computed twice. It is linear in the cotangent, so that of a multiple differs by rounding only.

    `rounding` (n,) is what is known of its rounding errors otherwise.
    """
    values, again = np.zeros(probe.n), np.zeros(probe.n)
    try:
        first, second = probe.case.gradients or (probe.gradient(), probe.gradient(MULTIPLE))
    except CheckError:  # the backward is not what a check takes
        raise
    except Exception as error:  # a wrong backward may raise anything
        return Analytic(values, again, dict.fromkeys(probe.names, raised(error)), raised=True)
    problems = {name: problem for name in probe.names if (problem := _problem(first.get(name), probe, name))}
    for name in sorted(first.keys() - set(probe.names)):
        problems[name] = "there is a gradient of this name, but no such tensor"
    for name in probe.names:
        if name not in problems:
            values[probe.span[name]] = np.ravel(first[name])
            again[probe.span[name]] = np.ravel(second[name]) / MULTIPLE
    finite = np.isfinite(values) & np.isfinite(again)
    change = np.where(finite, np.abs(values - np.where(finite, again, 0.0)), 0.0)
    spread = np.maximum(change, rounding)
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


@dataclass(frozen=True)
class Numeric:
    """The derivatives at the coordinates `index` (m,), and along one random direction for each part."""

    index: np.ndarray
    complex: ComplexEstimates | None
    differences: Estimates | None
    contradicted: np.ndarray  # (m,), what the complex step says where the two contradict each other; else NaN
    signs: list[np.ndarray]  # for each part, its direction: plus or minus the typical size at each coordinate
    taylor: np.ndarray | None  # (parts, steps), f(x + h v) - f(x)
    along: ComplexEstimates | None  # derivatives along the directions
    noise: float
    note: str  # why a method could not be used

    @property
    def best(self) -> np.ndarray | None:
        """The most exact derivatives that were measured, (m,)."""
        if self.complex is None or self.differences is None:
            found = self.complex or self.differences
            return None if found is None else found.values
        exact = self.complex.bars(np.arange(len(self.index))) <= self.differences.bars
        return np.where(exact, self.complex.values, self.differences.values)


def measure(probe: Probe, parts: list[Part], analytic: Analytic, rng: np.random.Generator, plan: Plan) -> Numeric:
    """Measure what the plan asks for. Of `analytic` only the place of the largest gradients is used."""
    index = _choose(parts, analytic, rng, plan.coordinates)
    signs = [probe.scale[part.index] * rng.choice([-1.0, 1.0], size=len(part.index)) for part in parts]
    set_directions(probe, parts, signs, rng)
    return _measured(probe, parts, index, signs, measure_noise(probe, -1 - len(parts)), plan)


def measure_again(probe: Probe, parts: list[Part], first: Numeric, plan: Plan) -> Numeric:
    """Measure the same with error bars that know every rounding (see verify/rounding.py)."""
    set_directions(probe, parts, first.signs, np.random.default_rng(0))
    noise = max(first.noise, value_rounding(probe))
    return _measured(probe, parts, first.index, first.signs, noise, plan, rounded=True)


def _measured(
    probe: Probe, parts: list[Part], index: np.ndarray, signs: list[np.ndarray], noise: float, plan: Plan, *,
    rounded: bool = False,
) -> Numeric:  # fmt: skip
    directions, lengths = -1 - np.arange(len(parts)), np.array([probe.scale[part.index[0]] for part in parts])
    steps = along = differences = taylor = None
    contradicted, note = np.full(len(index), np.nan), ""
    if COMPLEX in plan.methods:
        try:
            every = plan.coordinates is None  # for a sample the second step is not worth its time
            steps = complex_step(probe, index, probe.scale[index], again=every)
            along = complex_step(probe, directions, lengths, again=every)
            if rounded:
                steps = steps.with_spread(complex_rounding(probe, index, probe.scale[index]))
                along = along.with_spread(complex_rounding(probe, directions, lengths))
        except NotAnalyticError as error:
            steps, note = None, f"no complex step: the forward {error}"
    if DIFFERENCES in plan.methods:
        groups = np.zeros(probe.n, np.int32)
        for number, part in enumerate(parts):
            groups[part.index] = number
        where = (probe, index, probe.scale[index], noise)
        differences = central_differences(*where, levels=plan.levels, first=plan.first, groups=groups[index])
        doubted = np.arange(len(index))
        if steps is not None:
            doubted = np.flatnonzero(_contradictions(steps, differences, groups[index], 1))
        share = tolerance(DIFFERENCES, probe.eps)
        second_opinion(differences, doubted, *where, share=share, levels=plan.levels, first=plan.first)
        if steps is not None:
            doubtful = _contradictions(steps, differences, groups[index], 10)
            if doubtful.any():
                contradicted = np.where(doubtful, steps.values, np.nan)
                steps = along = None
                note = (
                    f"no complex step: it contradicts the differences at {int(doubtful.sum())} of {len(index)} "
                    "coordinates, so the forward silently drops an imaginary part (abs, real, a cast or a comparison)"
                )
            else:  # the error bar must reach the better value
                apart = np.abs(differences.values - steps.values) - steps.bars(np.arange(len(index)))
                np.maximum(differences.bars, apart, out=differences.bars)
    if TAYLOR in plan.methods:
        taylor = probe.differences(directions, np.tile(STEPS, (len(parts), 1)))
    return Numeric(index, steps, differences, contradicted, signs, taylor, along, noise, note)


def _choose(parts: list[Part], analytic: Analytic, rng: np.random.Generator, count: int | None) -> np.ndarray:
    """Coordinates to check: all, or for each part the one with the largest gradient and random others."""
    if count is None:
        return np.sort(np.concatenate([part.index for part in parts]))
    chosen: list[int] = []
    for part in parts:
        largest = part.index[np.argmax(np.abs(np.nan_to_num(analytic.values[part.index])))]
        others = rng.choice(part.index, size=min(count, len(part.index)), replace=False)
        chosen += [int(largest), *(int(i) for i in others if i != largest)][:count]
    return np.array(sorted(chosen))


def set_directions(probe: Probe, parts: list[Part], signs: list[np.ndarray], rng: np.random.Generator) -> None:
    """Set the probe's directions: for each part one that moves it alone, and one that moves all, for the noise."""
    table = np.zeros((len(parts) + 1, probe.n))
    for row, part, values in zip(table, parts, signs, strict=False):
        row[part.index] = values
    table[-1] = probe.scale * rng.normal(size=probe.n)
    probe.set_directions(table)


def _contradictions(steps: ComplexEstimates, differences: Estimates, groups: np.ndarray, times: float) -> np.ndarray:
    """Where the two differ by more than `times` their error bars and by a share of the largest in their group, (m,)."""
    usable = np.isfinite(differences.bars) & ~differences.kinks
    scale = largest_of(np.where(usable, np.abs(differences.values), 0.0), groups)
    bars = steps.bars(np.arange(len(steps.values))) + differences.bars
    apart = np.abs(steps.values - differences.values)
    return usable & (apart > times * bars) & (apart > tolerance(COMPLEX, steps.eps) * scale)
