"""The numeric side of a check: the derivatives that are measured.

The numeric side does not depend on the analytic one, so one measurement serves a hundred planted mistakes.
"""

from dataclasses import dataclass

import numpy as np

from verify.analytic import Analytic
from verify.case import Region
from verify.complex_step import ComplexEstimates, complex_step
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
from verify.probe import Probe
from verify.programs import NotAnalyticError
from verify.results import COMPLEX, DIFFERENCES, TAYLOR, WRONG
from verify.rounding import complex_rounding, value_rounding
from verify.taylor import STEPS, taylor_test
from verify.verdict import tolerance

METHODS = (COMPLEX, DIFFERENCES, TAYLOR)
SMALL_SHARE = 2.0**-20  # of the typical size of its tensor: a coordinate below is next to nothing


@dataclass(frozen=True)
class Plan:
    """How thoroughly to check.

    Attributes:
        coordinates: how many to check of each tensor: the one with the largest gradient, others at random; None: all.
        methods: any of complex step, differences, Taylor.
        levels, first: steps of the sweep, see verify/differences.py.
        any_float: check in the precision of the tensors, even if it is not float64.
        curves: at how many steps to record the error of plain central differences, for a figure.

    Raises:
        CheckError: a value that cannot be, or an unknown method.
    """

    coordinates: int | None = None
    methods: tuple[str, ...] = METHODS
    levels: int = LEVELS
    first: int = FIRST
    any_float: bool = False
    curves: int = 0

    def __post_init__(self) -> None:
        for name, least in (("coordinates", 1), ("levels", 3), ("curves", 0)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least) and not (name == "coordinates" and value is None):
                raise CheckError(f"Plan({name}={value!r}): give a whole number, at least {least}")
        unknown = sorted(set(self.methods) - set(METHODS), key=str)
        if unknown or not self.methods or isinstance(self.methods, str):
            raise CheckError(f"Plan(methods={self.methods!r}): give a tuple with any of {', '.join(METHODS)}")


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
            if not inside.size:
                continue  # there is nothing to judge in it
            parts.append(Part(name, f"{name} {label}".strip(), region, inside.shape, inside.ravel()))
    return parts


@dataclass(frozen=True)
class Numeric:
    """The derivatives at the coordinates `index` (m,), and along one random direction for each part."""

    index: np.ndarray
    complex: ComplexEstimates | None
    differences: Estimates | None
    unsettled: np.ndarray  # (m,), where f changes too quickly for differences to confirm the complex step
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
    # A coordinate that is next to nothing is moved by its own size: beyond it may be another branch, or a pole.
    moved = np.where(probe.own < SMALL_SHARE * probe.scale, probe.own, probe.scale)
    signs = [moved[part.index] * rng.choice([-1.0, 1.0], size=len(part.index)) for part in parts]
    set_directions(probe, parts, signs, rng)
    return _measured(probe, parts, index, signs, measure_noise(probe, -1 - len(parts)), plan)


def measure_again(probe: Probe, parts: list[Part], first: Numeric, plan: Plan) -> Numeric:
    """Measure the same with error bars that know every rounding (see verify/rounding.py)."""
    set_directions(probe, parts, first.signs, np.random.default_rng(0))
    return _measured(probe, parts, first.index, first.signs, first.noise, plan, rounding=value_rounding(probe))


def _measured(
    probe: Probe, parts: list[Part], index: np.ndarray, signs: list[np.ndarray], noise: float, plan: Plan, *,
    rounding: float | None = None,
) -> Numeric:  # fmt: skip
    """`rounding` is the noise of the value by random rounding, if all rounding errors are to be known."""
    quiet, noise = rounding, max(noise, rounding or 0.0)
    directions, lengths = -1 - np.arange(len(parts)), np.array([np.abs(v).min() for v in signs])
    steps = along = differences = taylor = None
    unsettled, contradicted, note = np.zeros(len(index), bool), np.full(len(index), np.nan), ""
    if COMPLEX in plan.methods:
        try:
            every = plan.coordinates is None  # for a sample the second step is not worth its time
            steps = complex_step(probe, index, probe.own[index], again=every)
            along = complex_step(probe, directions, lengths, again=every)
            if rounding is not None:
                steps = steps.with_spread(complex_rounding(probe, index, probe.own[index]))
                along = along.with_spread(complex_rounding(probe, directions, lengths))
        except NotAnalyticError as error:
            steps, note = None, f"no complex step: the forward {error}"
    if DIFFERENCES in plan.methods:
        groups = np.zeros(probe.n, np.int32)
        for number, part in enumerate(parts):
            groups[part.index] = number
        differences = _differences(probe, index, groups[index], noise, plan, steps)
        if quiet and 4 * quiet < noise:
            # Points that are close for a tensor may not be close for its smallest number. Then what was measured there
            # is not noise, and steps that are too large for that number seemed to be the best.
            unsettled = _widen(differences, _differences(probe, index, groups[index], quiet, plan, steps))
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
        if steps is not None and along is not None and differences is not None:
            unknown = np.isin(np.arange(len(parts)), groups[index][~np.isfinite(differences.bars)])
            if any(_unconfirmed(along, taylor, noise, k) for k in map(int, np.flatnonzero(unknown))):
                steps = along = None
                note = (
                    "no complex step: it contradicts the values along a direction, and the differences are not finite"
                )
    return Numeric(index, steps, differences, unsettled, contradicted, signs, taylor, along, noise, note)


def _differences(
    probe: Probe, index: np.ndarray, groups: np.ndarray, noise: float, plan: Plan, steps: ComplexEstimates | None
) -> Estimates:
    """The differences, with a second opinion where they are doubted."""
    where = (probe, index, probe.scale[index], noise)
    found = central_differences(*where, levels=plan.levels, first=plan.first, groups=groups)
    doubted = np.arange(len(index))
    if steps is not None:
        doubted = np.flatnonzero(~np.isfinite(found.bars) | _contradictions(steps, found, groups, 1))
    share = tolerance(DIFFERENCES, probe.eps)
    second_opinion(found, doubted, *where, share=share, levels=plan.levels, first=plan.first)
    return found


def _widen(found: Estimates, other: Estimates) -> np.ndarray:
    """Where another estimate contradicts what was found, let the error bars reach it and the end of its own bars.
    Returns where it does, (m,)."""
    apart = np.abs(found.values - other.values)
    contradicts = apart > found.bars + other.bars  # not where either is unknown
    found.bars[contradicts] = (apart + other.bars)[contradicts]
    return contradicts


def _unconfirmed(along: ComplexEstimates, taylor: np.ndarray, noise: float, k: int) -> bool:
    """Whether the derivative along the k-th direction fails the Taylor test, as a gradient like it would."""
    slope, bar = float(along.values[k]), float(along.bars(np.array([k]))[0])
    return taylor_test(taylor[k], slope, abs(slope), noise, bar, along.eps).verdict == WRONG


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
