"""The runs that are there: what each is doing, and how far it is. Read from their folders, and never written to."""

import os
import re
import signal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from common.command import one_line
from common.documents import read_text
from common.errors import DamagedError, UserError
from studio import jobs
from studio.jobs import Job
from training.chosen_run import accuracy, best_row
from training.config import Config
from training.metrics import MetricsRow
from training.new_folder import LOCK, LOG
from training.run_folder import RUNS, RunFolder
from training.runs import Entry, read_run, run_folders

RUNNING, FINISHED, STOPPED, DIVERGED = "running", "finished", "stopped", "diverged"
PREPARING, FAILED = "preparing", "failed"
SHOWN = ("config.yml", "metrics.csv", "classes.json", "last.npz", "best.npz")  # files that the list depends on
TRAIN = "train"  # the kind of a job
LENGTH = re.compile(r"^ +([\d,]+) steps? of ([\d,]+) images?, ([\d,]+) an epoch$", re.MULTILINE)
LOG_BYTES = 50 * 2**20
LONGEST_ID = 20  # digits of the id of a process, at most


class Length(NamedTuple):
    """How long a run trains, as its log says."""

    steps: int
    batch: int  # images a step
    an_epoch: int  # steps


class Seen(NamedTuple):
    """A run as the studio shows it."""

    path: Path
    state: str
    entry: Entry | None  # None: not begun, or damaged
    job: Job | None  # the last one that began or resumed it here
    problem: str = ""

    @property
    def name(self) -> str:
        """Its path in runs/."""
        return str(self.path.relative_to(RUNS)) if self.path.is_relative_to(RUNS) else str(self.path)

    @property
    def can_be_asked(self) -> bool:
        return self.entry is not None and self.entry.has_checkpoint

    @property
    def without_labels(self) -> bool:
        return self.entry is not None and bool(self.entry.images[-1])


def all_runs() -> list[Seen]:
    """The runs in runs/ and in its sweeps, and those that are just beginning; the newest first."""
    begun: dict[str | None, Job] = {}
    for job in reversed(jobs.all_jobs([TRAIN])):  # the last one of each run, or the one that trains it
        if job.about.run not in begun or not begun[job.about.run].is_running():
            begun[job.about.run] = job
    seen = [_seen(path, sweep, begun.get(str(path))) for path, sweep in _folders()]
    there = {str(run.path) for run in seen}
    for path, job in begun.items():
        if path is not None and path not in there and (job.is_running() or not _had_begun(job)):
            seen.append(Seen(Path(path), PREPARING if job.is_running() else FAILED, None, job))
    return sorted(seen, key=_when, reverse=True)


def _had_begun(job: Job) -> bool:
    """Whether a training had made its folder: if that is gone now, it was removed."""
    return f"run     {job.about.run}" in job.output()


def _when(run: Seen) -> tuple[bool, float]:
    began = run.job.about.began if run.job else 0.0
    return run.state in (RUNNING, PREPARING), max(began, run.entry.written if run.entry else 0.0)


def _folders() -> list[tuple[Path, Path | None]]:
    """The folders of runs with the sweep that each belongs to; none where they are just removed."""
    try:
        return list(run_folders(RUNS)) if RUNS.is_dir() else []
    except OSError:
        return []


def _seen(path: Path, sweep: Path | None, job: Job | None) -> Seen:
    """A run and what it is doing. One that a job resumes is running before it has the lock of its folder."""
    found = _read(path.absolute(), path, sweep, tuple(_written(path / name) for name in SHOWN))
    if isinstance(found, str):
        return Seen(path, FAILED, None, job, found)
    entry, has_all_steps = found
    if holder_of(path / LOCK) is not None or (job is not None and job.is_running()):
        return Seen(path, RUNNING, entry, job)
    if entry.run.divergence_file.exists():
        return Seen(path, DIVERGED, entry, job)
    return Seen(path, FINISHED if has_all_steps else STOPPED, entry, job)


def _written(file: Path) -> tuple[int, int] | None:
    """What changes when a file is written to; None: there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=1000)
def _read(whole: Path, path: Path, sweep: Path | None, written: tuple[object, ...]) -> tuple[Entry, bool] | str:
    """A run and whether it has all its steps, or what is wrong with it; read again when one of its files changed."""
    try:
        return read_run(RunFolder(path), sweep), RunFolder(path).has_all_steps()
    except (UserError, OSError) as error:
        return one_line(error)


def length_of(run: RunFolder) -> Length | None:
    """How long the run trains, by the last start that its log tells of; None: it has not said so yet."""
    try:
        found = LENGTH.findall(read_text(run.path / LOG, LOG_BYTES, errors="replace"))
    except (OSError, DamagedError):
        return None
    return Length(*(int(number.replace(",", "")) for number in found[-1])) if found else None


def log_of(run: Seen) -> str:
    """What the run has said: its log, or what the job that began it printed."""
    if run.job is not None and (run.entry is None or run.job.is_running()):
        return run.job.output()
    try:
        return read_text(run.path / LOG, LOG_BYTES, errors="replace")[-jobs.TAIL :]
    except (OSError, DamagedError):
        return run.job.output() if run.job is not None else ""


def stop(run: Seen) -> bool:
    """Ask the training to save and to end: also one that was begun in a terminal. Whether it could be asked."""
    if run.job is not None and run.job.stop():
        return True
    holder = holder_of(run.path / LOCK)
    if not holder or holder == os.getpid():
        return False
    try:
        os.kill(holder, signal.SIGTERM)
    except OSError:
        return False
    return True


def holder_of(lock: Path) -> int | None:
    """The id of the process that holds the lock of a run, 0 if it is unknown; None: nobody does."""
    if not jobs.is_held(lock):
        return None
    try:
        text = lock.read_bytes()[:LONGEST_ID].strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def config_of(run: Seen) -> Config | None:
    try:
        return RunFolder(run.path).read_config()
    except (UserError, OSError):
        return None


def rows_of(run: Seen) -> list[MetricsRow]:
    try:
        return RunFolder(run.path).read_metrics()
    except (UserError, OSError):
        return []


def best_of(rows: list[MetricsRow]) -> float | None:
    """The best validation accuracy."""
    row = best_row(rows)
    return accuracy(row) if row else None
