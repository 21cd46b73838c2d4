"""Which run a command works with: the one that is named, the best one of a sweep, or the newest."""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from common.command import one_line
from common.errors import UserError
from training.metrics import MetricsRow
from training.run_folder import RUNS, RunFolder
from training.sweep import Sweep, is_sweep


def choose_run(path: Path | None) -> RunFolder:
    """The run in the folder `path`; of a sweep the best one that has a checkpoint; without a path the newest run.

    A run of the sweep that is damaged is left out, with a warning.

    Raises:
        UserError: there is no such run, or none of the sweep has a checkpoint and was evaluated.
    """
    if path is None:
        return _newest()
    if not is_sweep(path):
        return RunFolder.open(path)
    best, found = 0.0, None
    for run in Sweep.open(path).runs():
        try:
            row = best_row(run.read_metrics())
        except (UserError, OSError) as error:
            print(f"warning: {run.path}: left out ({one_line(error)})", file=sys.stderr)
            continue
        has_checkpoint = run.config_file.is_file() and (run.best.is_file() or run.last.is_file())
        if row is not None and has_checkpoint and (found is None or _accuracy(row) > best):
            best, found = _accuracy(row), run
    if found is None:
        raise UserError(f"{path}: no run of this sweep has been evaluated and has a checkpoint yet")
    return found


def _newest() -> RunFolder:
    try:
        return RunFolder.newest()
    except UserError:
        sweeps = sorted(path for path in RUNS.iterdir() if is_sweep(path)) if RUNS.is_dir() else []
        if not sweeps:
            raise
        raise UserError(
            f"{RUNS.absolute()}: no run with a checkpoint in it but those of sweeps; name one: {quote(str(sweeps[-1]))}"
        ) from None


def accuracy(row: MetricsRow) -> float | None:
    """The validation accuracy by which a run keeps its best checkpoint: of the moving average where there is one."""
    return row.val_top1 if row.ema_top1 is None else row.ema_top1


def best_row(rows: Sequence[MetricsRow]) -> MetricsRow | None:
    """The first of the rows with the highest accuracy; None: none was evaluated."""
    evaluated = [row for row in rows if accuracy(row) is not None]
    return max(evaluated, key=_accuracy) if evaluated else None


def _accuracy(row: MetricsRow) -> float:
    return accuracy(row) or 0.0
