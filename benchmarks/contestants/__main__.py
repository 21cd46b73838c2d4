"""A worker: one contestant in one process. It reads requests from standard input and answers each, as lines of JSON.

    {"do": "build", "problem": {...}, "params": FILE}    ->  version, compile seconds, ... or {"missing": PACKAGE}
    {"do": "step", "count": n}, {"do": "forward", ...}   ->  {"seconds": ... for each, "value": loss of the last}
    {"do": "reset_peak"}                                 ->  {}: peak memory is measured from here on
    {"do": "memory"}                                     ->  peaks in bytes
    {"do": "quit"}                                       ->  ends

An answer also tells how much processor time the worker spent while it waited for the request: threads that spin would
slow down the worker whose turn it is.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.problem import Problem, load_params


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.contestant: Contestant | None = None

    def build(self, problem: dict[str, Any], params: str) -> dict[str, Any]:
        try:
            module = importlib.import_module(f"benchmarks.contestants.{CONTESTANTS[self.name].module}")
            self.contestant = module.build(self.name, Problem.from_json(problem), load_params(Path(params)))
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] not in ("torch", "flax", "optax"):
                raise
            return {"missing": error.name.partition(".")[0]}
        contestant = self.contestant
        assert contestant is not None
        return {
            "version": contestant.version,
            "device": contestant.device,
            "compile_seconds": contestant.compile_seconds,
            "temp_bytes": contestant.temp_bytes,
        }

    def step(self, count: int = 1) -> dict[str, Any]:
        assert self.contestant is not None
        seconds, value = self._timed(self.contestant.step, count)
        return {"seconds": seconds, "value": value if isinstance(value, dict) else float(value)}

    def forward(self, count: int = 1) -> dict[str, Any]:
        assert self.contestant is not None
        assert self.contestant.forward is not None
        seconds, _ = self._timed(self.contestant.forward, count)
        return {"seconds": seconds}

    def _timed(self, work: Callable[[], Any], count: int) -> tuple[float, Any]:
        """Seconds for each of `count` calls in sequence, none of which waits for the one before, and the last value."""
        assert self.contestant is not None
        began = time.perf_counter()
        for _ in range(count):
            value = work()
        self.contestant.wait()
        return (time.perf_counter() - began) / count, value

    def reset_peak(self) -> dict[str, Any]:
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak of the resident memory
        return {}

    def memory(self) -> dict[str, Any]:
        assert self.contestant is not None
        return {"peak_bytes": peak_resident(), "device_peak_bytes": self.contestant.device_peak()}


def peak_resident() -> int:
    """The peak of this process's resident memory, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(name: str) -> None:
    # Standard output is for answers only: whatever a framework prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker, idle_since = Worker(name), time.process_time()
    for line in sys.stdin:
        request = json.loads(line)
        idle = time.process_time() - idle_since
        do = request.pop("do")
        if do == "quit":
            return
        answer = getattr(worker, do)(**request)
        idle_since = time.process_time()
        print(json.dumps({**answer, "idle_cpu": idle}), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
