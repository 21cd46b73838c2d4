"""Training a sweep: a process for each run, and the tables that compare the runs.

Separate processes give each run fresh memory and settings, and let the sweep continue when a run fails.
"""

import dataclasses
import os
import shlex
import signal
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from common.errors import CheckpointError
from common.files import replace_text
from common.interrupt import STOP_AT_END, stop_signals
from common.progress import format_seconds
from common.text import counted
from training import checkpoint
from training.config import Config, load_config
from training.metrics import shows_top5
from training.presets import WIDTH
from training.progress import Progress
from training.run_folder import RunFolder
from training.sweep import Sweep
from training.sweep_table import FINISHED, Entry, format_csv, format_markdown
from training.sweep_text import format_text

POLL = 0.1  # seconds between two looks at a lock
TRAIN = Path(__file__).resolve().parent.parent / "train.py"


def train_sweep(sweep: Sweep, options: Sequence[str]) -> int:
    """Train the runs that are not finished, passing `options` on to train.py, and print the comparison.

    Returns the exit code: 0, or 1 if a run failed, or 128 + the signal that stopped the sweep.

    Raises:
        UserError: another process trains this sweep, or a file of one of its runs is damaged.
        OSError: the folder cannot be written.
    """
    _warn_of_changes(sweep)
    failures: dict[RunFolder, str] = {}
    combinations = sweep.combinations()
    with RunFolder(sweep.folder).lock(), Launcher() as launcher:
        waiting = [number for number, values in enumerate(combinations, 1) if not _is_finished(sweep.run(values))]
        durations = _seconds_of_finished(sweep)
        for position, number in enumerate(waiting):
            values = combinations[number - 1]
            run = sweep.run(values)
            print("\n" + _heading(sweep, values, f"run {number} of {len(combinations)}", durations, waiting[position:]))
            sys.stdout.flush()
            presets = [] if sweep.config is None else ["--config", str(sweep.config)]
            begin = [sweep.preset, *sweep.options(values), *presets, "--run", str(run.path)]
            go_on = ["--resume", str(run.path)]
            began = time.monotonic()
            launcher.wait_for(run)
            if launcher.signal is not None:
                break
            failure = launcher.train([*(go_on if run.config_file.exists() else begin), *options])
            if launcher.signal is not None:
                break
            if failure is not None:
                failures[run] = failure
            else:
                durations.append(time.monotonic() - began)
            _write_tables(sweep, failures)
    print(f"\n{_write_tables(sweep, failures)}\nall columns: {sweep.folder}/table.md, table.csv")
    again = f"python train.py --resume {shlex.quote(str(sweep.folder))}"
    if launcher.signal is not None:
        print(f"stopped; go on with:\n{again}")
        return 128 + launcher.signal
    if failures:
        print(f"{len(failures)} of {counted(len(combinations), 'run')} failed; try these again with:\n{again}")
    return 1 if failures else 0


def _seconds_of_finished(sweep: Sweep) -> list[float]:
    """How long each finished run took, without its start."""
    runs = [run for run in map(sweep.run, sweep.combinations()) if run.has_all_steps()]
    return [run.read_metrics()[-1].seconds for run in runs]


def _heading(sweep: Sweep, values: Sequence[str], number: str, durations: Sequence[float], left: Sequence[int]) -> str:
    """What is trained next, and how long the rest takes if its runs take as long as those before."""
    time_left = f", about {format_seconds(len(left) * statistics.mean(durations))} left" if durations else ""
    options = " ".join(f"{name}={value}" for name, value in zip(sweep.names(), values, strict=True))
    return textwrap.fill(f"{number}{time_left}: {options}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _warn_of_changes(sweep: Sweep) -> None:
    """Warn if configs.yml was edited since a run began: it keeps its options, but later runs would differ."""
    for values in sweep.combinations():
        run = sweep.run(values)
        if run.config_file.exists() and not _same(
            run.read_config(), load_config(sweep.preset, sweep.options(values), sweep.config, allow_idle=True)
        ):
            print(
                f"warning: {run.path}: began with other options than configs.yml gives it today, so runs that begin "
                "from now on differ from it in more than what is swept",
                file=sys.stderr,
            )


def _same(began: Config, today: Config) -> bool:
    """Whether a run began with the options of today. One that was given minutes has turned them into steps."""
    if today.train.minutes is not None:
        fixed = began.train
        length = dataclasses.replace(today.train, epochs=fixed.epochs, steps=fixed.steps, minutes=fixed.minutes)
        today = dataclasses.replace(today, train=length)
    return began == today


def _is_finished(run: RunFolder) -> bool:
    """Whether nothing is left to do. A run that was killed after its last row may not have saved its best yet."""
    try:
        return run.has_all_steps() and Progress.from_meta(checkpoint.load_meta(run.last), run.last).loss_count == 0
    except CheckpointError:
        return False  # train.py will report what is wrong with it


def _write_tables(sweep: Sweep, failures: Mapping[RunFolder, str]) -> str:
    """Write table.csv and table.md, and return the table for a terminal."""
    entries = []
    top5 = False
    for values in sweep.combinations():
        run = sweep.run(values)
        rows = run.read_metrics()
        accuracy = "top-1"
        if rows:
            config = run.read_config()
            accuracy = config.accuracy
            top5 |= accuracy == "top-1" and shows_top5(config.model.num_classes)
        if run in failures:
            state = f"failed: {failures[run]}"
        else:
            state = FINISHED if run.has_all_steps() else "unfinished" if run.config_file.exists() else "waiting"
        entries.append(Entry(values, state, rows, run.path.name, accuracy))
    keys = [key for key, _ in sweep.swept]
    replace_text(sweep.folder / "table.csv", format_csv(keys, entries))
    names = sweep.names()
    replace_text(sweep.folder / "table.md", format_markdown(keys, names, entries, top5))
    return format_text(keys, names, entries, top5)


class Launcher:
    """Runs train.py in a child process and forwards SIGINT and SIGTERM to it: the run saves, then the sweep ends.
    A closed terminal (SIGHUP) is treated like SIGTERM, unless SIGHUP is ignored, as under nohup. A context manager.

    The child has its own process group. So Ctrl-C reaches it once, from here, and not a second time from the terminal:
    the second one would make it quit at once. A second Ctrl-C of the user does.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._receive) for number in stop_signals()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._forward()

    def _forward(self) -> None:
        if self.signal is not None and self._process is not None:
            # The terminal that SIGHUP is about is not that of the child's process group.
            self._process.send_signal(signal.SIGTERM if self.signal == signal.SIGHUP else self.signal)

    def wait_for(self, run: RunFolder) -> None:
        """Wait until no other process trains this run, or a signal comes. The run of a killed sweep saves first."""
        told = False
        while self.signal is None and (holder := run.locked_by()) is not None:
            if not told:
                told = True
                print(f"waiting for process {holder or 'unknown'}, which trains this run", file=sys.stderr, flush=True)
            time.sleep(POLL)

    def train(self, arguments: Sequence[str]) -> str | None:
        """Run train.py, which stops when this process ends. Returns why it failed, in a few words; None: it did not."""
        command = [sys.executable, str(TRAIN), *arguments]
        reason = ""
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", process_group=0,
            env=os.environ | {STOP_AT_END: "1"},
        ) as process:  # fmt: skip
            try:
                self._process = process
                self._forward()  # a signal that came before the process was known
                assert process.stderr is not None
                for line in process.stderr:
                    print(line, end="", file=sys.stderr, flush=True)
                    reason = line.strip() or reason
            except BaseException:  # such as a broken pipe: nobody reads our output
                process.terminate()
                raise
            finally:
                self._process = None
        code = process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return reason.removeprefix("error: ").partition(". ")[0] or f"exit code {code}"
