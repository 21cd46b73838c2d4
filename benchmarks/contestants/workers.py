"""Starts one worker process per contestant and measures them in turn: while one works, all others wait."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.contestants import CONTESTANTS, PRODUCTS, REFERENCE
from benchmarks.contestants.own import named_params
from benchmarks.contestants.problem import Params, Problem, save_params

ROOT = Path(__file__).resolve().parent.parent.parent

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # idle threads sleep, so that they do not slow down the next worker
    "KMP_BLOCKTIME": "0",  # the same for another OpenMP library
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # compile times are those of a first start
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "JAX_TRACEBACK_FILTERING": "off",  # otherwise an error ends with a remark about its length
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # all contestants share the memory of the GPU
}


IN_SEQUENCE = {"cpu": 1, "gpu": 10}
"""Steps of a turn, timed together. A GPU computes one while Python starts the next, as in training."""


class WorkerDied(Exception):  # noqa: N818 - no error of this program: it is reported in the table
    """A worker ended before it answered; the message has the last line of its standard error."""


@dataclass
class Outcome:
    """The measurements of a contestant; times in seconds, memory in bytes."""

    name: str
    note: str | None = None  # why it was not measured, or not completely
    failed: bool = False  # its worker died
    version: str = ""
    device: str = ""
    compile_seconds: float | None = None
    temp_bytes: int | None = None
    peak_bytes: int | None = None
    device_peak_bytes: int | None = None
    losses: list[float] = field(default_factory=list)  # of the first steps
    steps: list[float] = field(default_factory=list)
    forwards: list[float] = field(default_factory=list)
    products: dict[str, list[float]] = field(default_factory=dict)  # seconds by type and size, of the products
    idle_cpu: float = 0.0  # seconds of processor time while other workers had their turn


@dataclass
class WorkerHandle:
    """The parent's end of a worker process (`__main__.py` is the other end)."""

    outcome: Outcome
    process: subprocess.Popen
    errors: IO[bytes]

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer. Raises WorkerDied if the worker has ended or ends while it works."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerDied(self._cause()) from None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerDied(self._cause())
        answer = json.loads(line)
        self.outcome.idle_cpu += answer.pop("idle_cpu")
        return answer

    def _cause(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with code {code}: {lines[-1].strip() if lines else 'no message'}"


def measure(problem: Problem, params: Params, names: Sequence[str], rounds: int, warmup: int) -> list[Outcome]:
    """Build each of `names`. Then measure `rounds` steps of each, and as many forward passes, in turn.

    The losses of the first `warmup` steps are kept; these steps are not timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = {CONTESTANTS[name].names: Path(folder) / f"{CONTESTANTS[name].names}.npz" for name in names}
        for naming, file in files.items():
            save_params(file, named_params(naming, problem, params))
        with _started(names, problem.device) as workers:
            _prepare_all(workers, problem, files, warmup)
            for _ in range(rounds):
                for worker in _alive(workers):
                    with _noting_death(worker):
                        _step(worker, IN_SEQUENCE[problem.device])
            for worker in _alive(workers):
                with _noting_death(worker):
                    for key, value in worker.ask("memory").items():
                        setattr(worker.outcome, key, value)
            for turn in range(rounds + 1):
                for worker in _alive(workers):
                    if worker.outcome.products:
                        continue
                    with _noting_death(worker):
                        seconds = worker.ask("forward", count=IN_SEQUENCE[problem.device])["seconds"]
                        if turn:  # the first compiles
                            worker.outcome.forwards.append(seconds)
            return [worker.outcome for worker in workers]


def _prepare_all(workers: Sequence[WorkerHandle], problem: Problem, files: dict[str, Path], warmup: int) -> None:
    """One after another. On a GPU, where the host compiles for a minute, JAX and PyTorch do so beside each
    other. Kernels that they choose by timing are then chosen under load; the steps are timed when all are built."""

    def prepare(framework: str) -> None:
        for worker in workers:
            if CONTESTANTS[worker.outcome.name].framework == framework:
                with _noting_death(worker):
                    _prepare(worker, problem, files[CONTESTANTS[worker.outcome.name].names], warmup)

    with ThreadPoolExecutor(2 if problem.device == "gpu" else 1) as pool:
        list(pool.map(prepare, ("torch", "jax")))


def _prepare(worker: WorkerHandle, problem: Problem, params: Path, warmup: int) -> None:
    outcome = worker.outcome
    answer = worker.ask("build", problem=problem.to_json(), params=str(params))
    if "missing" in answer:
        outcome.note = f"{answer['missing']} is not installed"
        return
    for key, value in answer.items():
        setattr(outcome, key, value)
    for _ in range(warmup):
        loss = worker.ask("step")["value"]
        if not isinstance(loss, dict):
            outcome.losses.append(loss)
    worker.ask("reset_peak")
    outcome.idle_cpu = 0.0


def _step(worker: WorkerHandle, count: int) -> None:
    matrices = worker.outcome.name == PRODUCTS  # which repeat themselves
    answer = worker.ask("step", count=1 if matrices else count)
    if isinstance(answer["value"], dict):
        for size, seconds in answer["value"].items():
            worker.outcome.products.setdefault(size, []).append(seconds)
    else:
        worker.outcome.steps.append(answer["seconds"])


def _alive(workers: Sequence[WorkerHandle]) -> list[WorkerHandle]:
    return [worker for worker in workers if worker.outcome.note is None]


@contextmanager
def _noting_death(worker: WorkerHandle) -> Iterator[None]:
    """A worker that dies is not asked again; the others continue."""
    try:
        yield
    except WorkerDied as death:
        worker.outcome.note, worker.outcome.failed = str(death), True


@contextmanager
def _started(names: Sequence[str], device: str) -> Iterator[list[WorkerHandle]]:
    environment = {**os.environ, **ENVIRONMENT}
    if device == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
    with ExitStack() as stack:
        workers = []
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
            stack.callback(process.kill)  # before Popen waits on exit; a worker has nothing to save
            workers.append(WorkerHandle(Outcome(name), process, errors))
        yield workers


def largest_difference(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The largest relative difference of each contestant's losses from those of the reference, by contestant."""
    ran = [outcome for outcome in outcomes if outcome.losses and outcome.note is None]
    if not ran:
        return {}
    reference = next((outcome for outcome in ran if outcome.name == REFERENCE), ran[0])
    return {
        # NumPy's maximum keeps a nan, which Python's may drop.
        outcome.name: float(np.max(np.abs(np.array(outcome.losses) / np.array(reference.losses) - 1)))
        for outcome in ran
        if outcome is not reference
    }
