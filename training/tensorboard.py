"""Event files of one or more runs for TensorBoard, also while they train.

    python -m training.tensorboard runs/demo-20260101-120000
    python -m training.tensorboard runs/demo-20260101-120000 --follow           until it is trained, or Ctrl-C
    python -m training.tensorboard runs/sweep-demo-20260101-120000 --logdir logs       all runs of a sweep
    tensorboard --logdir logs

They are written into the folder tensorboard/ of each run, or into a folder of the run's name in --logdir. Called
again, it adds what is new. Needs tensorboardX: pip install -r requirements-tensorboard.txt
"""

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from common.command import run_command
from common.errors import UserError
from common.files import LockedError, locked, reason
from common.paths import named_path
from common.text import counted
from training.event_file import RunEvents, require_tensorboardx
from training.run_folder import RunFolder
from training.sweep import Sweep, is_sweep

FOLDER, LOCK = "tensorboard", ".tensorboard.lock"
POLL = 2.0  # seconds between two looks at the files of a run


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    require_tensorboardx()
    folders = folders_of(runs_in(args.runs), args.logdir)
    with contextlib.ExitStack() as stack:
        written: dict[Path, RunEvents] = {}

        def update() -> None:
            """Write what is new, also of runs of a sweep that have begun meanwhile."""
            for folder, run in folders.items():
                if folder not in written and (run.read_metrics() or run.steps_file.exists()):
                    hold(folder, stack)
                    written[folder] = stack.enter_context(contextlib.closing(RunEvents(run, folder)))
                if folder in written:
                    written[folder].update()

        over = all(map(is_over, folders.values()))  # asked before the last rows are read
        update()
        if args.follow and not over:
            print(f"following {counted(len(folders), 'run')}; Ctrl-C ends it\n{how_to_look(list(folders))}", flush=True)
        while args.follow and not over:
            time.sleep(POLL)
            over = all(map(is_over, folders.values()))
            update()
        if not written:
            raise UserError(f"{args.runs[0]}: there is nothing to write, as no step has been made yet")
    for folder, events in written.items():
        print(f"{folder}: {counted(events.steps, 'step')}, {counted(events.evaluations, 'evaluation')}")
    print(how_to_look(list(written)))
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.tensorboard", description="Write event files of runs for TensorBoard."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", type=named_path, help="a run's folder, or a sweep's: all its runs"
    )
    parser.add_argument(
        "--logdir",
        metavar="DIR",
        type=named_path,
        help=f"write into a folder of the run's name in DIR (default: {FOLDER}/ in the folder of each run)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="go on as the runs train, until all are trained; Ctrl-C ends it"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_intermixed_args(argv)


def runs_in(paths: Sequence[Path]) -> dict[RunFolder, str]:
    """The runs and their names; those of a sweep, also of runs that have not begun, have its name before theirs.

    Raises:
        UserError: there is no such run.
    """
    found: dict[Path, tuple[RunFolder, str]] = {}
    for path in paths:
        runs = Sweep.open(path).runs() if is_sweep(path) else [RunFolder.open(path)]
        for run in runs:
            name = run.path.resolve().name
            found.setdefault(run.path.resolve(), (run, f"{path.resolve().name}/{name}" if is_sweep(path) else name))
    return dict(found.values())


def folders_of(runs: dict[RunFolder, str], logdir: Path | None) -> dict[Path, RunFolder]:
    """The folder of the event file of each run. In `logdir`, runs that would have the same are told apart by more of
    their paths."""
    if logdir is None:
        return {run.path / FOLDER: run for run in runs}
    same = Counter(runs.values())
    if max(same.values()) == 1:
        return {logdir / name: run for run, name in runs.items()}
    common = os.path.commonpath([run.path.resolve() for run in runs])
    return {logdir / run.path.resolve().relative_to(common): run for run in runs}


def hold(folder: Path, stack: contextlib.ExitStack) -> None:
    """Make the folder, and be the only process that writes event files there, until `stack` is closed.

    Raises:
        UserError: another process is; or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(folder / LOCK, wait=False))
    except LockedError as error:
        raise UserError(
            f"{folder}: process {error.holder or 'unknown'} writes these event files already; stop it first, or choose "
            "another folder with --logdir DIR"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({reason(error)}); choose another one with --logdir DIR"
        ) from error


def is_over(run: RunFolder) -> bool:
    """Whether the run has made all of its steps, or has diverged."""
    return run.divergence_file.exists() or (run.config_file.exists() and run.has_all_steps())


def how_to_look(folders: Sequence[Path]) -> str:
    common = folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.absolute() for folder in folders]))
    with contextlib.suppress(ValueError):  # it is not in the current folder
        common = common.relative_to(Path.cwd())
    return f"to look at them: tensorboard --logdir {quote(str(common))}"


if __name__ == "__main__":
    sys.exit(run_command(main))
