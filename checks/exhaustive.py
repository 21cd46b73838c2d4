"""Every coordinate of every parameter, one by one, at full size.

There are millions, so the work is cut into chunks of coordinates, in an order drawn from the seed: whenever the check
stops, it has covered a random share of every tensor. Only a tally is kept for each tensor, so the state is small. A
check that was interrupted or ran out of time resumes from it.
"""

import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import jax
import numpy as np

from checks.exhaustive_case import CHUNK, ExhaustiveCase, Tally
from common.documents import parse_json, read_json
from common.errors import DamagedError
from common.text import counted
from training.hosts import ALONE, Hosts
from verify.case import Case
from verify.errors import CheckError
from verify.results import CaseResult


@dataclass(frozen=True)
class Coverage:
    """How far an exhaustive check has come. Tensors that were not reached have not passed."""

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
        return f"{self.done:,} of {counted(self.coordinates, 'coordinate')} ({self.done / self.coordinates:.3%})"

    @property
    def missing(self) -> str:
        if not self.unreached:
            return "every tensor has been reached"
        tensors = f"{len(self.unreached):,} of {counted(self.tensors, 'tensor')}"
        cases = f"; {len(self.unreached_cases)} of {counted(self.cases, 'case')} not at all"
        verb = "has" if len(self.unreached) == 1 else "have"
        return f"{tensors} {verb} not been reached yet{cases if self.unreached_cases else ''}"


@dataclass(frozen=True)
class State:
    """What is saved of a check."""

    fingerprint: str
    position: int
    tallies: dict[str, list[Tally]]  # by the name of the case, one for each of its tensors


class ExhaustiveCheck:
    """A check of all coordinates of all parameters of some cases. `position` chunks of `order` have been checked."""

    def __init__(self, cases: Sequence[Case], seed: int, fingerprint: str) -> None:
        """`fingerprint` identifies this check: it resumes only from a state with the same fingerprint."""
        self.seed, self.fingerprint = seed, fingerprint
        with ThreadPoolExecutor() as pool:
            started = pool.map(lambda case: ExhaustiveCase.of(case, seed), cases)
            self.cases = [case for case in started if case is not None]
        if not self.cases:
            raise CheckError("these cases have no parameters, and an exhaustive check is of parameters")
        ends = np.cumsum([0, *(case.chunks for case in self.cases)])
        self._starts = ends[:-1]
        self.order = np.random.default_rng([seed, int(ends[-1])]).permutation(int(ends[-1]))
        self.position = 0

    @property
    def coordinates(self) -> int:
        return sum(len(case.order) for case in self.cases)

    @property
    def done(self) -> int:
        return sum(tally.done for case in self.cases for tally in case.tallies)

    @property
    def passes(self) -> int:
        """Forward passes of the whole check."""
        return sum(len(case.order) * case.passes for case in self.cases)

    @property
    def finished(self) -> bool:
        return self.position == len(self.order)

    @property
    def wrong(self) -> int:
        return sum(tally.wrong for case in self.cases for tally in case.tallies)

    def estimate(self, together: int = 1) -> float:
        """Seconds that the whole check takes, from one timed call of each program, if so many calls run at the same
        time without slowing each other down."""
        for case in self.cases:
            index = case.order[: min(case.probe.lines, CHUNK)]
            case.measure(index)
            start = time.perf_counter()
            case.measure(index)
            case.seconds = (time.perf_counter() - start) / len(index)
        return sum(case.seconds * len(case.order) for case in self.cases) / together

    def run(
        self,
        stop: Callable[[], bool],
        progress: Callable[[int], None],
        workers: int = 1,
        devices: Sequence[jax.Device | None] = (None,),
        hosts: Hosts = ALONE,
    ) -> None:
        """Check chunks until all are done or `stop()` is true; `progress` is given the number of coordinates of each.

        `workers` threads measure at the same time, on `devices` in turn; None is the default device. Of `hosts` each
        measures every n-th chunk, and tells the others what it found: all of them count everything, in the order of
        the chunks, and stop if any of them is to stop.
        """
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[Future[np.ndarray]] = deque()
            mine = self.order[self.position + hosts.number :: hosts.count]
            upcoming = zip(mine, cycle(devices), strict=False)
            while self.position < len(self.order) and not hosts.any(stop()):
                while len(ahead) < workers and (following := next(upcoming, None)) is not None:
                    ahead.append(pool.submit(self._measure, *following))
                found = hosts.gather(ahead.popleft().result() if ahead else np.zeros((2, CHUNK)))
                for chunk, (values, bars) in zip(self.order[self.position :], found, strict=False):
                    case, index = self._chunk(chunk)
                    case.count(index, values[: len(index)], bars[: len(index)])
                    self.position += 1
                    progress(len(index))

    def _chunk(self, chunk: int) -> tuple[ExhaustiveCase, np.ndarray]:
        """The case of a chunk, and its coordinates."""
        number = int(np.searchsorted(self._starts, chunk, side="right")) - 1
        case, first = self.cases[number], (int(chunk) - int(self._starts[number])) * CHUNK
        return case, case.order[first : first + CHUNK]

    def _measure(self, chunk: int, device: jax.Device | None) -> np.ndarray:
        """Derivatives and error bars, (2, CHUNK), of which a chunk at an end does not use all."""
        case, index = self._chunk(chunk)
        found = np.zeros((2, CHUNK))
        with contextlib.nullcontext() if device is None else jax.default_device(device):
            found[:, : len(index)] = case.measure(index)
        return found

    def results(self) -> list[CaseResult]:
        """The verdicts so far, on the tensors of which anything was checked."""
        return [result for case in self.cases if (result := case.result(self.seed)).tensors]

    def coverage(self) -> Coverage:
        missing = {case.name: case.unreached for case in self.cases}
        return Coverage(
            self.done,
            self.coordinates,
            tensors=sum(len(case.parts) for case in self.cases),
            cases=len(self.cases),
            unreached=[f"{name}: {title}" for name, titles in missing.items() for title in titles],
            unreached_cases=[case.name for case in self.cases if len(missing[case.name]) == len(case.parts)],
        )

    def state(self) -> str:
        """The position and all tallies, as JSON."""
        tallies = {case.name: case.tallies for case in self.cases}
        return json.dumps(asdict(State(self.fingerprint, self.position, tallies)))

    def take_over(self, state: str) -> None:
        """Go on from a state that another process of the same check has read."""
        self._set(parse_json(state, State, "the state of process 0", finite=False))

    def _set(self, saved: State) -> None:
        for case in self.cases:
            case.tallies = saved.tallies[case.name]
        self.position = saved.position

    def resume(self, path: Path) -> bool:
        """Resume from the state in `path`; False if there is none.

        Raises:
            CheckError: the file is damaged, or of another check.
        """
        if not path.exists():
            return False
        try:
            saved: State = read_json(path, State, finite=False)
            if saved.fingerprint != self.fingerprint:
                raise CheckError(
                    f"{path}: of another check (other options, parameters or layers); delete it or name another --state"
                )
        except DamagedError as error:
            raise CheckError(f"{error}; delete it to begin anew") from error
        if not self._can_be(saved):
            raise CheckError(f"{path}: damaged (its tallies are not those of its position); delete it to begin anew")
        self._set(saved)
        return True

    def _can_be(self, saved: State) -> bool:
        """Whether each tensor has been counted as often as it is in the chunks before the position."""
        if not 0 <= saved.position <= len(self.order) or saved.tallies.keys() != {case.name for case in self.cases}:
            return False
        chunks = self.order[: saved.position]
        for case, start in zip(self.cases, self._starts, strict=True):
            mine = chunks[(chunks >= start) & (chunks < start + case.chunks)] - start
            places = (mine[:, None] * CHUNK + np.arange(CHUNK)).ravel()
            index = case.order[places[places < len(case.order)]]
            done = np.bincount(case.part_of[index], minlength=len(case.parts))
            if [tally.done for tally in saved.tallies[case.name]] != done.tolist():
                return False
            if any(tally.coordinate >= len(case.part_of) for tally in saved.tallies[case.name]):
                return False
        return True
