"""One case of an exhaustive check: its coordinates in a random order, and a tally for each of its tensors."""

from dataclasses import dataclass, field

import numpy as np

from verify.analytic import Analytic, analytic_gradient
from verify.case import Case
from verify.complex_step import complex_step
from verify.differences import central_differences, measure_noise
from verify.measure import Part, parts_of, set_directions
from verify.probe import Probe
from verify.programs import NotAnalyticError
from verify.results import (
    COMPLEX,
    DIFFERENCES,
    INCONCLUSIVE,
    PASS,
    STRUCTURE,
    WRONG,
    CaseResult,
    MethodResult,
    TensorResult,
)
from verify.rounding import complex_rounding, gradient_rounding, value_rounding
from verify.verdict import rounding_share, tolerance

CHUNK = 64  # coordinates; the same on every device, since the order of the chunks depends on it
LEVELS, FIRST = 6, 1  # steps of the sweep where the complex step cannot be used
INPUTS = ("x", "images")  # tensors that are no parameters


@dataclass
class Tally:
    """What is known of one tensor (or region) so far."""

    done: int = 0
    wrong: int = 0
    worst: float = -1.0  # largest |analytic - numeric|, and there:
    coordinate: int = 0
    analytic: float = 0.0
    numeric: float = 0.0
    bar: float = 0.0
    error_squares: float = 0.0
    numeric_squares: float = 0.0
    largest: float = 0.0  # |numeric|
    largest_bar: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for what no check can find."""
        if not 0 <= self.wrong <= self.done or self.coordinate < 0:
            raise ValueError("a tally has more wrong coordinates than coordinates, or a number below 0")

    def add(self, index: np.ndarray, a: np.ndarray, n: np.ndarray, bars: np.ndarray, share: float) -> None:
        """Count the coordinates `index` (m,) with analytic and numeric derivatives and error bars, (m,) each.

        Errors up to `share` are too small to matter.
        """
        errors = np.abs(a - n)
        errors[~np.isfinite(errors)] = np.inf
        i = int(np.argmax(errors))
        self.done += len(index)
        self.wrong += int((errors > np.maximum(bars, share)).sum())
        if errors[i] > self.worst:
            self.worst, self.coordinate = float(errors[i]), int(index[i])
            self.analytic, self.numeric, self.bar = float(a[i]), float(n[i]), float(bars[i])
        self.error_squares += float(np.sum(errors**2))
        self.numeric_squares += float(np.sum(n**2))
        self.largest = max(self.largest, float(np.max(np.abs(n))))
        self.largest_bar = max(self.largest_bar, float(np.max(bars)))


@dataclass
class ExhaustiveCase:
    """A case with the coordinates of its parameters in a random order."""

    case: Case
    probe: Probe
    parts: list[Part]
    analytic: Analytic
    order: np.ndarray  # coordinates of the parameters
    part_of: np.ndarray  # by coordinate, the number of its part; -1 for inputs
    method: str
    why: str  # it is not the complex step
    noise: float
    tallies: list[Tally] = field(default_factory=list)
    seconds: float = 0.0  # for one coordinate
    _own_rounding: np.ndarray | None = None  # (n,), measured at need
    _value_rounding: float | None = None

    @classmethod
    def of(cls, case: Case, seed: int) -> "ExhaustiveCase | None":
        """None for a case without parameters."""
        rng = case.random(seed)
        if not any(name not in INPUTS for name in case.tensors):
            return None
        probe = Probe(case, rng)
        parts = [part for part in parts_of(probe) if part.name not in INPUTS]
        part_of = np.full(probe.n, -1, np.int32)
        for number, part in enumerate(parts):
            part_of[part.index] = number
        order = rng.permutation(np.flatnonzero(part_of >= 0).astype(np.int32))
        analytic = analytic_gradient(probe)
        set_directions(probe, [], [], rng)
        noise = measure_noise(probe, -1)
        method, why = _choose_method(probe, parts, analytic, noise)
        return cls(case, probe, parts, analytic, order, part_of, method, why, noise, [Tally() for _ in parts])

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def passes(self) -> int:
        """Forward passes for one coordinate."""
        return 1 if self.method == COMPLEX else 2 * LEVELS

    @property
    def chunks(self) -> int:
        return -(-len(self.order) // CHUNK)

    def measure(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives at these coordinates and their error bars."""
        if self.method == COMPLEX:
            found = complex_step(self.probe, index, self.probe.own[index], again=False)
            return found.values, found.bars(np.arange(len(index)))
        scale = self.probe.scale[index]
        estimates = central_differences(self.probe, index, scale, self.noise, levels=LEVELS, first=FIRST)
        return estimates.values, estimates.bars

    def count(self, index: np.ndarray, values: np.ndarray, bars: np.ndarray) -> None:
        """Count what was measured at these coordinates."""
        for number in np.unique(self.part_of[index]):
            mine = self.part_of[index] == number
            places, n, b = index[mine], values[mine], bars[mine]
            a = self.analytic.values[places]
            share = max(tolerance(self.method, self.probe.eps) * self._scale(number), self._floor(number))
            doubted = ~(np.abs(a - n) <= np.maximum(b, share))
            if doubted.any():
                b[doubted] += self._rounding(number, places[doubted])
            self.tallies[number].add(places, a, n, b, share)

    def _rounding(self, number: int, places: np.ndarray) -> np.ndarray:
        """What rounding may change of both gradients of a part at these coordinates (see verify/rounding.py), (m,)."""
        if self._own_rounding is None:
            self._own_rounding = gradient_rounding(self.probe)
        own = 4 * self._own_rounding[self.parts[number].index].max(initial=0.0)
        sizes = self.probe.scale[places]
        if self.method == COMPLEX:
            return own + 4 * complex_rounding(self.probe, places, self.probe.own[places])
        if self._value_rounding is None:
            self._value_rounding = value_rounding(self.probe)
        noise = max(self.noise, self._value_rounding)
        found = central_differences(self.probe, places, sizes, noise, levels=LEVELS, first=FIRST)
        return own + found.rounding

    def _scale(self, number: int) -> float:
        """The largest analytic gradient of a part."""
        return float(np.abs(np.nan_to_num(self.analytic.values[self.parts[number].index])).max())

    def _floor(self, number: int) -> float:
        """What rounding alone makes of a part whose gradient is zero by theory."""
        largest = float(np.abs(np.nan_to_num(self.analytic.values)).max())
        return self.analytic.floor(self.parts[number].index, largest, self.probe.eps)

    # The verdicts so far.

    @property
    def unreached(self) -> list[str]:
        """The parts of which no coordinate has been checked."""
        return [part.title for number, part in enumerate(self.parts) if not self._reached(number)]

    def result(self, seed: int) -> CaseResult:
        """The verdicts on the parts of which anything is known."""
        tensors = [self._tensor(number) for number in range(len(self.parts)) if self._reached(number)]
        notes = [f"by central differences: {self.why}"] if self.why else []
        notes += [f"not reached yet: {', '.join(self.unreached)}"] if self.unreached else []
        case = self.case
        return CaseResult(case.name, case.target, case.contains, seed, tensors, self.noise, note="; ".join(notes))

    def _reached(self, number: int) -> bool:
        """Whether anything is known of a part. A gradient that cannot even be compared is known to be wrong."""
        return bool(self.tallies[number].done or self._problem(number))

    def _problem(self, number: int) -> str | None:
        return self.analytic.problems.get(self.parts[number].name)

    def _tensor(self, number: int) -> TensorResult:
        part, tally = self.parts[number], self.tallies[number]
        problem, floor = self._problem(number), self._floor(number)
        result = TensorResult(self.case.name, part.title, part.shape, len(part.index), tally.done, floor=floor)
        if problem is not None:
            result.methods, result.diagnosis = [MethodResult(STRUCTURE, WRONG, note=problem)], problem
            return result
        largest = self._scale(number)
        result.scale = scale = max(tally.largest, largest)
        result.zero = largest <= floor and tally.largest <= max(floor, tally.largest_bar)
        if result.zero:
            result.methods = [MethodResult(self.method, PASS, note="zero by theory")]
            return result
        rounding = self._own_rounding is not None and not tally.wrong
        share = rounding_share(self.probe.eps) if rounding else tolerance(self.method, self.probe.eps)
        blurred = tally.largest_bar > share * scale
        result.methods = [
            MethodResult(
                self.method,
                WRONG if tally.wrong else INCONCLUSIVE if blurred else PASS,
                worst=tally.worst / scale,
                norm=float(np.sqrt(tally.error_squares / tally.numeric_squares)) if tally.numeric_squares else None,
                bar=tally.largest_bar / scale,
                where=part.where(tally.coordinate, self.probe),
                analytic=tally.analytic,
                numeric=tally.numeric,
                bar_there=tally.bar,
            )
        ]
        if tally.wrong:
            result.diagnosis = f"{tally.wrong:,} of {tally.done:,} checked coordinates are wrong"
        return result


def _choose_method(probe: Probe, parts: list[Part], analytic: Analytic, noise: float) -> tuple[str, str]:
    """The complex step, if it agrees with differences where the gradients are largest; else differences, and why."""
    index = np.array([part.index[np.argmax(np.abs(np.nan_to_num(analytic.values[part.index])))] for part in parts])
    scale = probe.scale[index]
    try:
        steps = complex_step(probe, index, probe.own[index], again=False).values
    except NotAnalyticError as error:
        return DIFFERENCES, f"the function {error}"
    rough = central_differences(probe, index, scale, noise, levels=LEVELS, first=FIRST)
    allowed = 10 * (rough.bars + 1e-6 * np.abs(rough.values).max())
    errors = np.abs(steps - rough.values)
    if np.all(errors <= allowed):
        return COMPLEX, ""
    worst = float(np.max(errors) / np.abs(rough.values).max())
    return DIFFERENCES, f"the complex step is off by up to {worst:.1e} of the largest"
