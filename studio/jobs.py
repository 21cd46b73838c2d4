"""A command as a process of its own, which outlives the page and the studio that began it.

A job is a folder in runs/.studio:

    job.json     kind, command, run and time
    pid          the id of the process, and when it was started, by which another with the same id is told apart
    output.txt   what it prints
    code         its exit code, if the studio was still there when it ended

The process has the file `output.txt` as its output, with a lock on it. The kernel takes the lock away when the last
process that holds the file has ended, however it ended. So a studio that is started later knows what still runs.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.documents import read_json
from common.errors import DamagedError
from common.files import replace_text
from studio.workspace import JOBS

try:
    import fcntl
except ImportError:  # Windows: `python -m studio` says so
    fcntl = None  # type: ignore[assignment]

DESCRIPTION, PID, OUTPUT, CODE = "job.json", "pid", "output.txt", "code"
RESULTS = "results"  # the folder that a command may write to
KEPT = 200  # jobs that have ended; older ones are removed
ABANDONED = 86_400  # seconds, after which a folder without a description is removed
TAIL = 40_000  # bytes of the output that are shown
NOTING = 5.0  # seconds, at most, until the exit code of a process that has ended is written
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Described:
    """What `job.json` holds."""

    kind: str
    command: list[str]  # as it is shown: `python train.py ...`
    began: float  # seconds since the epoch
    run: str | None = None  # the folder that it is about


@dataclass(frozen=True)
class Job:
    folder: Path
    about: Described

    @property
    def results(self) -> Path:
        return self.folder / RESULTS

    @property
    def shown(self) -> str:
        """The command as one types it."""
        return shlex.join(self.about.command)

    def is_running(self) -> bool:
        """Whether the process, or one that it began and that writes to the same output, is there."""
        return is_held(self.folder / OUTPUT)

    def exit_code(self) -> int | None:
        """None: it runs, or ended when no studio was there."""
        noting = _noting.get(self.folder.absolute())
        if noting is not None and not self.is_running():
            noting.join(NOTING)  # it is written just after the end
        try:
            return int((self.folder / CODE).read_text())
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        """The end of what it has printed. A line that was written over, as by a progress bar, shows its last state."""
        try:
            with open(self.folder / OUTPUT, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                text = file.read().decode(errors="replace")
        except OSError:
            return ""
        lines = text.replace("\r\n", "\n").split("\n")
        return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines).strip("\n")

    def stop(self) -> bool:
        """Ask the process to save and to end. Whether it could be asked: not if it has ended.

        By SIGTERM, which a training takes as Ctrl-C. A second Ctrl-C would have it leave at once; a second SIGTERM,
        as of a double click, changes nothing.
        """
        try:
            pid, _, started = (self.folder / PID).read_text().strip().partition(" ")
            if not self.is_running() or self.exit_code() is not None or started != when_started(int(pid)):
                return False
            os.kill(int(pid), signal.SIGTERM)
        except (OSError, ValueError):
            return False
        return True


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file. Nothing is written, and other readers see the same meanwhile."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or it cannot be read
        return False
    return False


def begin(kind: str, command: Sequence[str], run: str | None = None, folder: Path | None = None) -> Job:
    """Start `command`, whose first word is `python`, in the current folder. No shell reads it.

    `folder` is one that `new_folder` has made, for a command that names files in it.

    Raises:
        OSError: the process cannot be started, or the folder not be written.
    """
    folder = folder or new_folder(kind)
    job = Job(folder, Described(kind, list(command), time.time(), run))
    replace_text(folder / DESCRIPTION, json.dumps(vars(job.about), ensure_ascii=False) + "\n")
    with open(folder / OUTPUT, "ab") as output:
        fcntl.flock(output, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, *real(command[1:])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,  # Ctrl-C in the terminal of the studio, and its end, do not reach it
        )
    try:
        replace_text(folder / PID, f"{process.pid} {when_started(process.pid)}\n")
    except OSError:
        process.kill()  # else nobody could stop it
        raise
    noting = _noting[folder.absolute()] = threading.Thread(target=_note_end, args=(process, folder), daemon=True)
    noting.start()
    return job


def when_started(pid: int) -> str:
    """When the process with this id was started, in ticks since the machine was; "" where that is not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


_noting: dict[Path, threading.Thread] = {}
"""Of each process that this studio began and that runs: what waits for its end."""


def _note_end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    code = process.wait()
    with contextlib.suppress(OSError):
        replace_text(folder / CODE, f"{code}\n")
    _noting.pop(folder.absolute(), None)


def real(words: Sequence[str]) -> list[str]:
    """The arguments of Python: a script of the project by its whole path, as the studio may run in another folder."""
    first, *others = words
    return [first if first.startswith("-") else str(ROOT / first), *others]


def environment() -> dict[str, str]:
    """That of the studio, in which `python -m` finds the project, and what is printed is seen at once."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    changes = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}
    return {**os.environ, **changes}


def new_folder(kind: str) -> Path:
    """A new folder for a job, with one for its results. Jobs that ended long ago are removed."""
    JOBS.mkdir(parents=True, exist_ok=True)
    jobs = all_jobs()
    for old in [job for job in jobs if not job.is_running()][KEPT:]:
        shutil.rmtree(old.folder, ignore_errors=True)
    described = {job.folder for job in jobs}
    for left in JOBS.iterdir():  # by a studio that was killed before it described what it began
        with contextlib.suppress(OSError):
            if left not in described and time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    folder = JOBS / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    (folder / RESULTS).mkdir(parents=True)
    return folder


def find(folder: str | Path) -> Job | None:
    """The job in a folder of `JOBS`; None if there is none, or it is damaged."""
    path = JOBS / Path(folder).name
    try:
        return Job(path, read_json(path / DESCRIPTION, Described))
    except (OSError, DamagedError):
        return None


def all_jobs(kinds: Iterable[str] = ()) -> list[Job]:
    """The jobs, those of some kinds or all, the newest first."""
    folders = JOBS.iterdir() if JOBS.is_dir() else iter(())
    found = [job for folder in folders if (job := find(folder)) is not None]
    chosen = set(kinds)
    return sorted(
        (job for job in found if not chosen or job.about.kind in chosen),
        key=lambda job: (job.about.began, job.folder.name),
        reverse=True,
    )


def newest(kind: str, run: str | None = None) -> Job | None:
    """The job of this kind that began last; with `run`, of this one."""
    return next((job for job in all_jobs([kind]) if run is None or job.about.run == run), None)
