"""Runs parts one after another, each in a process of its own, and writes the results after each."""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu.machine import head
from benchmarks.gpu.page import to_markdown
from benchmarks.gpu.part import FAILED, MISSING, OK, SKIPPED, TIMED_OUT, Part, Result
from common.files import replace_text
from common.progress import format_seconds

ROOT = Path(__file__).resolve().parent.parent.parent
LEAST = 3.0  # seconds: with less, a part is not started
PATIENCE = 5.0  # seconds that a part has to end after SIGTERM, before it is killed
ENVIRONMENT = {
    # A process that reserved most of the memory would leave too little to PyTorch, or to the next process.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "JAX_TRACEBACK_FILTERING": "off",  # otherwise an error ends with a remark about its length
    "PYTHONUNBUFFERED": "1",  # what a part printed before it was stopped is kept
    "MPLBACKEND": "Agg",
}


class Session:
    """One call of the script; `seconds` is the time for all parts, None: as long as their limits allow."""

    def __init__(self, out: Path, rehearse: bool, archives: Path | None, seconds: float | None) -> None:
        self.out, self.rehearse, self.archives = out.resolve(), rehearse, archives
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.out.mkdir(parents=True, exist_ok=True)
        self.json, self.page = self.out / "results.json", self.out / "results.md"
        self.results: list[Result] = []
        self.head = head(rehearse)

    def run(self, parts: Sequence[Part]) -> list[Result]:
        """Run all parts. Whatever happens to one, its result is written and the next begins."""
        for i, part in enumerate(parts):
            granted = self._granted(parts[i:])
            print(f"[{i + 1}/{len(parts)}] {part.name}, at most {format_seconds(granted)}", flush=True)
            result = self._run_part(part, granted)
            self.results.append(result)
            self._write()
            reason = f": {result.why}" if result.why else ""
            print(f"    {result.status} after {format_seconds(result.seconds)}{reason}", flush=True)
        return self.results

    def _granted(self, waiting: Sequence[Part]) -> float:
        """Seconds for the first of the parts that wait: its share of what is left, so that time that one does not need
        goes to those after it, and none of them is starved."""
        part = waiting[0]
        if self.deadline is None:
            return part.limit
        left = max(0.0, self.deadline - time.monotonic() - PATIENCE * (not self.rehearse))
        share = left * part.limit / sum(other.limit for other in waiting)
        return share if part.stretches else min(part.limit, share)

    def _run_part(self, part: Part, granted: float) -> Result:
        result = Result(part.stage, part.name, OK, environment=dict(part.environment), granted=granted)
        folder = self.out / part.name
        seconds = max(1.0, 0.8 * (granted - part.start))
        places = {
            "out": str(folder),
            "shared": str(self.out / "shared"),
            "archives": str(self.archives.resolve()) if self.archives else "",
            "seconds": str(int(seconds)),
            "minutes": f"{seconds / 60:.3f}",
        }
        arguments = [argument.format(**places) for argument in part.command]
        result.command = shlex.join(["python", *arguments])
        missing = [name for name in part.needs if importlib.util.find_spec(name) is None]
        if missing:
            result.status, result.why = MISSING, f"{', '.join(missing)} is not installed"
        elif part.needs_archives and self.archives is None:
            result.status, result.why = MISSING, "give the folder of the data set with --archives"
        elif granted < LEAST:
            result.status, result.why = SKIPPED, f"{granted:.0f} s would be too short"
        else:
            self._start(part, result, folder, arguments)
        return result

    def _start(self, part: Part, result: Result, folder: Path, arguments: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.out / "shared").mkdir(exist_ok=True)
        began = time.monotonic()
        with open(folder / "stdout.txt", "wb") as out, open(folder / "stderr.txt", "wb") as err:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env=self._environment(part),
                start_new_session=True,  # so that a signal reaches the workers that it starts, too
            )
            try:
                code: int | None = process.wait(timeout=result.granted)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        result.seconds = time.monotonic() - began
        if code is None:
            result.status, result.why = TIMED_OUT, f"stopped after {result.granted:.0f} s"
        elif code:
            result.status, result.why = FAILED, _cause(code, folder)
        package = re.search(r"No module named '(\w+)", result.why)
        if package:
            result.status, result.why = MISSING, f"{package[1]} is not installed"
        self._read(part, result, folder)

    def _read(self, part: Part, result: Result, folder: Path) -> None:
        """What a part measured before it failed counts as well."""
        try:
            result.values = part.read(folder, (folder / "stdout.txt").read_text(errors="replace"))
        except Exception as error:  # whatever a reader stumbles over must not end the session
            if result.status == OK:
                result.status, result.why = FAILED, f"its result cannot be read: {type(error).__name__}: {error}"

    def _environment(self, part: Part) -> dict[str, str]:
        name = "JAX_COMPILATION_CACHE_DIR"
        compiled = {name: os.environ.get(name) or str(self.out / "shared" / "compiled")}
        environment = {**os.environ, **ENVIRONMENT, **compiled, **part.environment}
        if self.rehearse:
            environment |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        if "XLA_FLAGS" in part.environment:
            environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {part.environment['XLA_FLAGS']}".strip()
        return environment

    def _write(self) -> None:
        document = {"head": self.head, "parts": [asdict(result) for result in self.results]}
        replace_text(self.json, json.dumps(document, indent=1) + "\n")
        replace_text(self.page, to_markdown(self.head, self.results))


def _end(process: subprocess.Popen) -> None:
    """End the process and all that it started: politely first, as a training then saves."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, None)):
        try:
            if process.poll() is None:
                os.killpg(process.pid, number)
                process.wait(timeout=patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it


def _cause(code: int, folder: Path) -> str:
    """The last line of the standard error, or what ended the process."""
    lines = [line for line in (folder / "stderr.txt").read_text(errors="replace").splitlines() if line.strip()]
    ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{ended}: {lines[-1].strip()[:300]}" if lines else ended
