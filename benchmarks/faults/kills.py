"""Trainings, sweeps and their data, killed at random moments and resumed.

A tiny run is started in a folder of its own and killed several times: while it decodes, compiles, trains, saves or
evaluates. Promises: each command that resumes it goes on without a traceback; it ends with the parameters, bit for bit,
and the metrics of a run that nothing interrupted; and nothing that it started outlives it.
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.faults.data_inputs import data_set
from benchmarks.faults.inputs import Fault, hold
from training import checkpoint
from training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = (
    "baseline", "data.name=shapes", "model.num_classes=12", "model.patch_size=32", "model.d_model=8", "model.heads=2",
    "model.layers=1", "model.mlp_dim=8", "model.dropout=0.1", "optim.schedule=constant", "optim.learning_rate=1e-2",
    "optim.ema=0.9", "augment.flip=true", "data.workers=1", "train.epochs=40", "train.batch_size=8",
    "train.eval_batch_size=16", "train.checkpoint_every=2",
)  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MOST_KILLS = 4  # of one run
PATIENCE = 120.0  # seconds for what must end by itself


class Kills:
    """Kills in a folder; `count` are those that met a process that was running."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.number = folder, 0, 0
        self.root = data_set(folder)
        self.environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "GLIBC_TUNABLES": "",
        }
        began = time.monotonic()
        self.reference = folder / "reference"
        self.end(self.start(*self.options(folder / "reference cache"), "--run", str(self.reference)))
        self.seconds = time.monotonic() - began  # of a whole run

    def options(self, cache: Path) -> list[str]:
        return [*TINY, f"data.root={self.root}", f"data.cache={cache}", "--device", "cpu"]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "train.py", *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str], *codes: int) -> str:
        """Wait for the end, without a traceback and with one of these codes (default: 0); what was printed."""
        try:
            out, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            raise Fault(f"broken: it ends within {PATIENCE:.0f} s; it printed: {out[-500:]}") from None
        command = shlex.join(map(str, process.args))  # type: ignore[arg-type]
        hold("Traceback" not in out, f"no traceback; {command} printed: {out[-1500:]}")
        hold(process.returncode in (codes or (0,)), f"it ends well; {command}: {process.returncode}, {out[-500:]}")
        return out

    def kill(self, process: subprocess.Popen[str], rng: random.Random) -> bool:
        """Kill it at a random moment; whether it was still running."""
        number, running = rng.choice(SIGNALS), False
        try:
            process.wait(timeout=rng.uniform(0.05, 1.0) * self.seconds)
        except subprocess.TimeoutExpired:
            running = True
            process.send_signal(number)
            self.count += 1
        self.end(process, 0, 128 + number, -number)
        return running

    def run(self, rng: random.Random) -> None:
        """A run that is killed up to MOST_KILLS times, and then ends."""
        self.number += 1
        run, cache = self.folder / f"run {self.number}", self.folder / f"cache {self.number}"
        for _ in range(rng.randint(1, MOST_KILLS)):
            if not self.kill(self.go_on(run, cache), rng):
                break
        self.end(self.go_on(run, cache))
        same(run, self.reference)
        for folder in (run, cache):
            shutil.rmtree(folder)

    def go_on(self, run: Path, cache: Path) -> subprocess.Popen[str]:
        """Start the run, or resume it as far as it has come."""
        if (run / "config.yml").exists():
            return self.start("--resume", str(run), "--device", "cpu")
        return self.start(*self.options(cache), "--run", str(run))

    def sweep(self, rng: random.Random) -> None:
        """A sweep of two runs that is killed, once or twice, and then ends."""
        self.number += 1
        sweep, cache = self.folder / f"sweep {self.number}", self.folder / f"cache {self.number}"

        def go_on() -> subprocess.Popen[str]:
            if (sweep / "sweep.yml").exists():
                return self.start("--resume", str(sweep), "--device", "cpu")
            return self.start(*self.options(cache), "--sweep", "train.seed=0,1", "--run", str(sweep))

        for _ in range(rng.randint(1, 2)):
            self.kill(go_on(), rng)
        self.end(go_on())
        runs = sorted(path for path in sweep.iterdir() if (path / "config.yml").exists())
        hold(len(runs) == 2, "a sweep that ends has all of its runs")
        same(runs[0], self.reference)
        shutil.rmtree(sweep)
        shutil.rmtree(cache)


def same(run: Path, reference: Path) -> None:
    """Raise Fault unless both runs ended alike."""
    (arrays, _), (expected, _) = (checkpoint.load(RunFolder(path).last) for path in (run, reference))
    for name, array in expected.items():
        hold(np.array_equal(arrays[name], array), f"a resumed run ends with the same parameters ({name})")
    rows, wanted = (
        [(row.epoch, row.step, row.train_loss, row.val_loss, row.val_top1) for row in RunFolder(path).read_metrics()]
        for path in (run, reference)
    )
    hold(rows == wanted, "a resumed run has the same metrics")
    hold(RunFolder(run).steps_file.read_bytes() == RunFolder(reference).steps_file.read_bytes(), "and the same steps")
    hold(RunFolder(run).best.read_bytes() == RunFolder(reference).best.read_bytes(), "and the same best parameters")
