"""Drives the workers: each its own process, all waiting but the one whose turn it is."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.contestants import REFERENCE
from benchmarks.contestants.problem import Params, Problem, save_params

ROOT = Path(__file__).resolve().parent.parent.parent

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait for work sleep, so that they do not slow down the next in turn
    "KMP_BLOCKTIME": "0",  # the same for another OpenMP library
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # the time to compile is that of a first start
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "JAX_TRACEBACK_FILTERING": "off",  # else the last line of an error is a remark on its length
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # a GPU's memory is for all contestants
}


class Fallen(Exception):  # noqa: N818 - what a worker did, told in the table
    """A worker ended before it answered; says what it said last."""


@dataclass
class Outcome:
    """What is known of a contestant; times in seconds, memory in bytes."""

    name: str
    note: str | None = None  # why it did not take part, or not to the end
    fell: bool = False  # it ended with an error
    version: str = ""
    device: str = ""
    compile_seconds: float | None = None
    temp_bytes: int | None = None
    peak_bytes: int | None = None
    device_peak_bytes: int | None = None
    losses: list[float] = field(default_factory=list)  # of the first steps
    steps: list[float] = field(default_factory=list)
    forwards: list[float] = field(default_factory=list)
    products: dict[str, list[float]] = field(default_factory=dict)  # only of the matrix products: by their size
    idle_cpu: float = 0.0  # seconds of processor time spent while others had their turn


@dataclass
class Member:
    outcome: Outcome
    process: subprocess.Popen
    errors: IO[bytes]

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Raises Fallen when the worker has ended, or ends over it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Fallen(self._last_words()) from None
        line = self.process.stdout.readline()
        if not line:
            raise Fallen(self._last_words())
        answer = json.loads(line)
        self.outcome.idle_cpu += answer.pop("idle_cpu")
        return answer

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with code {code}: {lines[-1].strip() if lines else 'no message'}"


def measure(problem: Problem, params: Params, names: Sequence[str], rounds: int, warmup: int) -> list[Outcome]:
    """Build each of `names`, then let them step in turn `rounds` times, and go forward in turn as often."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.npz"
        save_params(file, params)
        with _members(names, problem.device) as members:
            for member in members:
                with _falling(member):
                    _prepare(member, problem, file, warmup)
            for _ in range(rounds):
                for member in _standing(members):
                    with _falling(member):
                        _step(member)
            for member in _standing(members):
                with _falling(member):
                    for key, value in member.ask("memory").items():
                        setattr(member.outcome, key, value)
            for turn in range(rounds + 1):
                for member in _standing(members):
                    if member.outcome.products:
                        continue
                    with _falling(member):
                        seconds = member.ask("forward")["seconds"]
                        if turn:  # the first compiles
                            member.outcome.forwards.append(seconds)
            return [member.outcome for member in members]


def _prepare(member: Member, problem: Problem, params: Path, warmup: int) -> None:
    outcome = member.outcome
    answer = member.ask("build", problem=problem.to_json(), params=str(params))
    if "missing" in answer:
        outcome.note = f"{answer['missing']} is not installed"
        return
        return
    for key, value in answer.items():
        setattr(outcome, key, value)
    for _ in range(warmup):
        loss = member.ask("step")["value"]
        if not isinstance(loss, dict):
            outcome.losses.append(loss)
    member.ask("forget")
    outcome.idle_cpu = 0.0


def _step(member: Member) -> None:
    answer = member.ask("step")
    if isinstance(answer["value"], dict):
        for size, seconds in answer["value"].items():
            member.outcome.products.setdefault(size, []).append(seconds)
    else:
        member.outcome.steps.append(answer["seconds"])


def _standing(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.outcome.note is None]


@contextmanager
def _falling(member: Member) -> Iterator[None]:
    """A worker that falls is out of the contest; the others go on."""
    try:
        yield
    except Fallen as fallen:
        member.outcome.note, member.outcome.fell = str(fallen), True


@contextmanager
def _members(names: Sequence[str], device: str) -> Iterator[list[Member]]:
    environment = {**os.environ, **ENVIRONMENT}
    if device == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    with ExitStack() as stack:
        members = []
        for name in names:
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.contestants", name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=ROOT,
                    env=environment,
                    text=True,
                )
            )
            stack.callback(process.kill)  # before the wait of Popen's own exit; a worker has nothing to save
            members.append(Member(Outcome(name), process, errors))
        yield members


def largest_difference(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """By contestant: how far its losses are from those of the reference, relative, at the worst of the first steps."""
    ran = [outcome for outcome in outcomes if outcome.losses and outcome.note is None]
    if not ran:
        return {}
    reference = next((outcome for outcome in ran if outcome.name == REFERENCE), ran[0])
    return {
        # Of NumPy, whose maximum keeps a nan: Python's would drop it.
        outcome.name: float(np.max(np.abs(np.array(outcome.losses) / np.array(reference.losses) - 1)))
        for outcome in ran
        if outcome is not reference
    }
