"""A worker: one contestant in one process, which does what it is told by lines of JSON on its standard input.

    {"do": "build", "problem": {...}, "params": FILE}    ->  version, compile seconds, ... or {"missing": PACKAGE}
    {"do": "step"}, {"do": "forward"}                    ->  {"seconds": ..., "value": loss}
    {"do": "forget"}                                     ->  {}: the peak of memory counts from here
    {"do": "memory"}                                     ->  peaks in bytes
    {"do": "quit"}                                       ->  ends

An answer also tells how much time of a processor was spent while waiting for the command: threads that spin would slow
down whoever's turn it is.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.contract import Running
from benchmarks.contestants.problem import Problem, load_params


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.running: Running | None = None

    def build(self, problem: dict[str, Any], params: str) -> dict[str, Any]:
        try:
            module = importlib.import_module(f"benchmarks.contestants.{CONTESTANTS[self.name].module}")
            self.running = module.build(self.name, Problem.from_json(problem), load_params(Path(params)))
        except ModuleNotFoundError as error:
            if not error.name or error.name.partition(".")[0] not in ("torch", "flax", "optax"):
                raise
            return {"missing": error.name.partition(".")[0]}
        running = self.running
        assert running is not None
        return {
            "version": running.version,
            "device": running.device,
            "compile_seconds": running.compile_seconds,
            "temp_bytes": running.temp_bytes,
        }

    def step(self) -> dict[str, Any]:
        assert self.running is not None
        began = time.perf_counter()
        value = self.running.step()
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "value": value if isinstance(value, dict) else float(value)}

    def forward(self) -> dict[str, Any]:
        assert self.running is not None
        assert self.running.forward is not None
        began = time.perf_counter()
        self.running.forward()
        return {"seconds": time.perf_counter() - began}

    def forget(self) -> dict[str, Any]:
        gc.collect()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of resident memory starts anew
        return {}

    def memory(self) -> dict[str, Any]:
        assert self.running is not None
        return {"peak_bytes": peak_resident(), "device_peak_bytes": self.running.device_peak()}


def peak_resident() -> int:
    """Bytes of this process in memory at their highest."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(name: str) -> None:
    # Only answers may go where the answers are read; whatever a framework prints goes to the errors.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker, rested = Worker(name), time.process_time()
    for line in sys.stdin:
        request = json.loads(line)
        idle = time.process_time() - rested
        do = request.pop("do")
        if do == "quit":
            return
        answer = getattr(worker, do)(**request)
        rested = time.process_time()
        print(json.dumps({**answer, "idle_cpu": idle}), file=answers)


if __name__ == "__main__":
    main(sys.argv[1])
