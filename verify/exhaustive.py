"""Every coordinate of every parameter, one by one, at full size.

There are millions, so the work is cut into chunks of coordinates, in an order drawn from the seed: whenever one stops,
what was covered is a random share of every tensor. Of each tensor only a tally is kept, so the state is small, is
saved as one goes, and a check that was interrupted or ran out of time goes on where it stopped.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from verify.case import Case
from verify.complex_step import complex_step
from verify.differences import central_differences, measure_noise
from verify.errors import CheckError
from verify.measure import Analytic, Part, analytic_gradient, parts_of, set_directions
from verify.probe import NotAnalyticError, Probe
from verify.results import COMPLEX, DIFFERENCES, PASS, STRUCTURE, WRONG, CaseResult, MethodResult, TensorResult
from verify.verdict import tolerance

CHUNK = 64  # coordinates; the order of the chunks must not depend on the device, so this does not either
LEVELS, FIRST = 6, 1  # steps of the sweep where the complex step cannot be used
INPUTS = ("x", "images")


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

    def add(self, index: np.ndarray, a: np.ndarray, n: np.ndarray, bars: np.ndarray, share: float) -> None:
        """Count the coordinates `index`; `share` is the error that is too small to matter."""
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
class Job:
    """One case with the coordinates of its parameters in a random order."""

    case: Case
    probe: Probe
    parts: list[Part]
    analytic: Analytic
    order: np.ndarray  # coordinates of the parameters
    part_of: np.ndarray  # by coordinate, the number of its part; -1 for inputs
    method: str
    noise: float
    tallies: list[Tally] = field(default_factory=list)
    seconds: float = 0.0  # for one coordinate

    @property
    def passes(self) -> int:
        """Forward passes for one coordinate."""
        return 1 if self.method == COMPLEX else 2 * LEVELS

    @property
    def chunks(self) -> int:
        return -(-len(self.order) // CHUNK)

    def measure(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives at these coordinates and their error bars."""
        scale = self.probe.scale[index]
        if self.method == COMPLEX:
            found = complex_step(self.probe, index, scale, again=False)
            return found.values, found.bars(np.arange(len(index)))
        estimates = central_differences(self.probe, index, scale, self.noise, levels=LEVELS, first=FIRST)
        return estimates.values, estimates.bars

    def count(self, index: np.ndarray, values: np.ndarray, bars: np.ndarray) -> None:
        """Count what was measured at these coordinates."""
        for number in np.unique(self.part_of[index]):
            mine = self.part_of[index] == number
            a, n, b = self.analytic.values[index[mine]], values[mine], bars[mine]
            self.tallies[number].add(index[mine], a, n, b, self._share(number))

    def _share(self, number: int) -> float:
        part = self.parts[number]
        scale = float(np.abs(np.nan_to_num(self.analytic.values[part.index])).max())
        return max(tolerance(self.method, self.probe.eps) * scale, self.floor(number))

    def floor(self, number: int) -> float:
        """What rounding alone makes of a gradient that is zero by theory."""
        largest = float(np.abs(np.nan_to_num(self.analytic.values)).max())
        return self.analytic.floor(self.parts[number].index, largest, self.probe.eps)


Measured = tuple[Job, np.ndarray, np.ndarray, np.ndarray]  # coordinates, derivatives and error bars


@dataclass(frozen=True)
class Coverage:
    """How far an exhaustive check has come. What is unreached has passed nothing."""

    done: int  # coordinates
    coordinates: int
    tensors: int
    cases: int
    unreached: list[str]  # tensors of which no coordinate was checked, as `case: tensor`
    unreached_cases: list[str]  # cases with nothing but such tensors

    @property
    def finished(self) -> bool:
        return self.done == self.coordinates

    @property
    def share(self) -> str:
        return f"{self.done:,} of {self.coordinates:,} coordinates ({self.done / self.coordinates:.3%})"

    @property
    def missing(self) -> str:
        if not self.unreached:
            return "every tensor has been reached"
        cases = f"; {len(self.unreached_cases)} of {self.cases} cases not at all" if self.unreached_cases else ""
        return f"{len(self.unreached):,} of {self.tensors:,} tensors have not been reached yet{cases}"


class ExhaustiveCheck:
    """All coordinates of all parameters of these cases. `position` chunks of `order` have been checked."""

    def __init__(self, cases: Sequence[Case], seed: int, fingerprint: str) -> None:
        """`fingerprint` tells this check from others: a state is only taken up by the check that saved it."""
        self.seed, self.fingerprint = seed, fingerprint
        with ThreadPoolExecutor() as pool:
            self.jobs = [job for job in pool.map(lambda case: _job(case, seed), cases) if job is not None]
        if not self.jobs:
            raise CheckError("these cases have no parameters, and an exhaustive check is of parameters")
        ends = np.cumsum([0, *(job.chunks for job in self.jobs)])
        self._starts = ends[:-1]
        self.order = np.random.default_rng([seed, int(ends[-1])]).permutation(int(ends[-1]))
        self.position = 0

    @property
    def coordinates(self) -> int:
        return sum(len(job.order) for job in self.jobs)

    @property
    def done(self) -> int:
        return sum(tally.done for job in self.jobs for tally in job.tallies)

    @property
    def passes(self) -> int:
        """Forward passes of all of it."""
        return sum(len(job.order) * job.passes for job in self.jobs)

    @property
    def finished(self) -> bool:
        return self.position == len(self.order)

    @property
    def wrong(self) -> int:
        return sum(tally.wrong for job in self.jobs for tally in job.tallies)

    def estimate(self, workers: int = 1) -> float:
        """Seconds that the whole check takes on this device, from one timed call of each program.

        On a CPU a call keeps one core busy, so `workers` of them go on at the same time.
        """
        for job in self.jobs:
            index = job.order[: min(job.probe.lines, CHUNK)]
            job.measure(index)
            start = time.perf_counter()
            job.measure(index)
            job.seconds = (time.perf_counter() - start) / len(index)
        together = workers if jax.default_backend() == "cpu" else 1
        return sum(job.seconds * len(job.order) for job in self.jobs) / together

    def run(self, stop: Callable[[], bool], progress: Callable[[int], None], workers: int = 1) -> None:
        """Go on until it is finished or `stop()`; `progress` is told how many coordinates were checked.

        So many `workers` measure at the same time; what they find is counted in the order of the chunks.
        """
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[Future[Measured]] = deque()
            upcoming = iter(self.order[self.position :])
            while not stop():
                while len(ahead) < workers and (chunk := next(upcoming, None)) is not None:
                    ahead.append(pool.submit(self._measure, int(chunk)))
                if not ahead:
                    return
                job, index, values, bars = ahead.popleft().result()
                job.count(index, values, bars)
                self.position += 1
                progress(len(index))

    def _measure(self, chunk: int) -> Measured:
        number = int(np.searchsorted(self._starts, chunk, side="right")) - 1
        job, first = self.jobs[number], (chunk - int(self._starts[number])) * CHUNK
        index = job.order[first : first + CHUNK]
        return job, index, *job.measure(index)

    def results(self) -> list[CaseResult]:
        """The verdicts so far, on the tensors of which anything was checked."""
        return [result for job in self.jobs if (result := _result(job, self.seed)).tensors]

    def coverage(self) -> Coverage:
        missing = {job.case.name: _unreached(job) for job in self.jobs}
        return Coverage(
            self.done,
            self.coordinates,
            tensors=sum(len(job.parts) for job in self.jobs),
            cases=len(self.jobs),
            unreached=[f"{name}: {title}" for name, titles in missing.items() for title in titles],
            unreached_cases=[job.case.name for job in self.jobs if len(missing[job.case.name]) == len(job.parts)],
        )

    def state(self) -> str:
        """Everything that was found, as JSON."""
        tallies = {job.case.name: [asdict(tally) for tally in job.tallies] for job in self.jobs}
        return json.dumps({"fingerprint": self.fingerprint, "position": self.position, "tallies": tallies})

    def resume(self, path: Path) -> bool:
        """Take up the state in `path`; False if there is none.

        Raises:
            CheckError: the file is damaged, or of another check.
        """
        if not path.exists():
            return False
        try:
            saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if saved["fingerprint"] != self.fingerprint:
                raise CheckError(
                    f"{path}: of another check (other options, parameters or layers); delete it or name another --state"
                )
            tallies = [[Tally(**tally) for tally in saved["tallies"][job.case.name]] for job in self.jobs]
            position = int(saved["position"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckError(f"{path}: damaged ({error}); delete it to begin anew") from error
        for job, found in zip(self.jobs, tallies, strict=True):
            job.tallies = found
        self.position = position
        return True


def _job(case: Case, seed: int) -> Job | None:
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
    method = _method(probe, parts, analytic, noise)
    return Job(case, probe, parts, analytic, order, part_of, method, noise, [Tally() for _ in parts])


def _method(probe: Probe, parts: list[Part], analytic: Analytic, noise: float) -> str:
    """The complex step, if it agrees with differences where the gradients are largest; else differences."""
    index = np.array([part.index[np.argmax(np.abs(np.nan_to_num(analytic.values[part.index])))] for part in parts])
    scale = probe.scale[index]
    try:
        steps = complex_step(probe, index, scale, again=False).values
    except NotAnalyticError:
        return DIFFERENCES
    rough = central_differences(probe, index, scale, noise, levels=LEVELS, first=FIRST)
    allowed = 10 * (rough.bars + 1e-6 * np.abs(rough.values).max())
    return COMPLEX if np.all(np.abs(steps - rough.values) <= allowed) else DIFFERENCES


def _result(job: Job, seed: int) -> CaseResult:
    tensors = [_tensor(job, number) for number in range(len(job.parts)) if _reached(job, number)]
    notes = [] if job.method == COMPLEX else ["no complex step here: by central differences"]
    unreached = _unreached(job)
    notes += [f"not reached yet: {', '.join(unreached)}"] if unreached else []
    case = job.case
    return CaseResult(case.name, case.target, case.contains, seed, tensors, job.noise, note="; ".join(notes))


def _reached(job: Job, number: int) -> bool:
    """Whether anything is known of a tensor. A gradient that cannot even be compared is known to be wrong."""
    return bool(job.tallies[number].done or _problem(job, job.parts[number]))


def _unreached(job: Job) -> list[str]:
    return [part.title for number, part in enumerate(job.parts) if not _reached(job, number)]


def _problem(job: Job, part: Part) -> str | None:
    return job.analytic.problems.get(part.name)


def _tensor(job: Job, number: int) -> TensorResult:
    part, tally = job.parts[number], job.tallies[number]
    problem = _problem(job, part)
    result = TensorResult(job.case.name, part.title, part.shape, len(part.index), tally.done, floor=job.floor(number))
    if problem is not None:
        result.methods, result.diagnosis = [MethodResult(STRUCTURE, WRONG, note=problem)], problem
        return result
    largest = float(np.abs(np.nan_to_num(job.analytic.values[part.index])).max())
    result.scale = scale = max(tally.largest, largest)
    result.zero = largest <= result.floor and tally.largest <= max(result.floor, tally.largest_bar)
    if result.zero:
        result.methods = [MethodResult(job.method, PASS, note="zero by theory")]
        return result
    blurred = tally.largest_bar > tolerance(job.method, job.probe.eps) * scale
    result.methods = [
        MethodResult(
            job.method,
            WRONG if tally.wrong else "inconclusive" if blurred else PASS,
            worst=tally.worst / scale,
            norm=float(np.sqrt(tally.error_squares / tally.numeric_squares)) if tally.numeric_squares else None,
            bar=tally.largest_bar / scale,
            where=part.where(tally.coordinate, job.probe),
            analytic=tally.analytic,
            numeric=tally.numeric,
            bar_there=tally.bar,
        )
    ]
    if tally.wrong:
        result.diagnosis = f"{tally.wrong:,} of {tally.done:,} checked coordinates are wrong"
    return result
