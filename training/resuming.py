"""What a resumed run finds in its folder besides its last checkpoint: the best one, the metrics and the steps.

They may be gone, damaged or of another moment than the last checkpoint, as where a backup was put back. What is damaged
is refused, so that nothing overwrites it. What is gone is warned of, with what that means. Nothing is lost without a
word.
"""

import shutil
import sys
from itertools import count
from pathlib import Path
from shlex import quote
from typing import Any

from common.documents import fit
from common.errors import CheckpointError, UserError
from common.text import counted
from training import checkpoint
from training.progress import Progress
from training.run_folder import RunFolder
from training.step_log import cut_behind, last_until


def best_so_far(run: RunFolder, progress: Progress, template: Any, due: bool) -> float:
    """The accuracy that an evaluation has to exceed for its parameters to become the best ones.

    It is that of best.npz, where there is one. If that is not the one that the last checkpoint knows, the user is
    warned.

    Args:
        progress: that of the last checkpoint.
        template: of the tree in best.npz.
        due: whether the last step is to be evaluated, which may have been done, but for saving it.

    Raises:
        CheckpointError: best.npz is damaged, or of another model.
    """
    known = progress.best_top1
    if not run.best.exists():
        if known >= 0:
            _warn(
                f"{run.best}: missing; the parameters with top-1 {known:.2%} are lost, and the best later ones are kept"
            )
        return -1.0
    try:
        meta = checkpoint.restore(run.best, template)[1]
        step, top1 = fit(int, meta.get("step"), "step"), fit(float, meta.get("val_top1"), "val_top1")
    except (CheckpointError, ValueError) as error:
        told = (
            str(error).removesuffix(checkpoint.ELSE)
            if isinstance(error, CheckpointError)
            else f"{run.best}: damaged ({error})"
        )
        raise CheckpointError(
            f"{told}. To go on with {run.last.name} all the same, move {run.best.name} away: the best of the later "
            "evaluations is kept then"
        ) from None
    if top1 == known or (due and step == progress.step):
        return known
    expected = f"top-1 {known:.2%}" if known >= 0 else "none"
    _warn(
        f"{run.best}: of step {step:,}, top-1 {top1:.2%}, where {run.last.name} of step {progress.step:,} expects "
        f"{expected}; it stays until an evaluation is better"
    )
    return top1


def continue_records(run: RunFolder, progress: Progress, due: bool, log_every: int | None) -> None:
    """Prepare metrics.csv and steps.csv for the next rows: those behind the last checkpoint, which will be written
    again, are dropped.

    Where metrics.csv has rows of later steps, both files are kept under another name. The user is warned of that, and
    of rows that are missing. `progress` and `due` are as above, `log_every` is the distance of the rows of steps.csv.

    Raises:
        UserError: a file is damaged or has other columns; none is changed then.
        OSError: one cannot be written.
    """
    file, evaluated = run.metrics_file, progress.step - progress.loss_count
    last, missing = last_until(run.steps_file, progress.step, log_every)
    later = [row for row in run.read_metrics() if row.step > progress.step]
    if later:
        _keep_former(file, f"{counted(len(later), 'row')} of later steps", run, progress.step)
        if run.steps_file.exists():
            _keep_former(run.steps_file, "its rows of later steps", run, progress.step)
    cut_behind(run.steps_file, last)
    if log_every and missing:
        there = f"its rows after step {last.step:,} are missing" if run.steps_file.exists() else "missing"
        _warn(f"{run.steps_file}: {there}; it goes on after step {progress.step:,}")
    run.truncate_metrics(progress.step - int(due))
    steps = [row.step for row in run.read_metrics()]
    if not evaluated or evaluated in steps:
        return
    if not file.exists():
        _warn(f"{file}: missing; its rows begin here")
    elif not steps:
        _warn(f"{file}: the rows up to step {evaluated:,} are missing; its rows begin here")
    else:
        _warn(f"{file}: the row of step {evaluated:,} is missing, and will be in no curve and no table")


def _keep_former(file: Path, later: str, run: RunFolder, step: int) -> None:
    kept = _free_name(file)
    shutil.copy2(file, kept)
    _warn(
        f"{file}: {later} than {run.last.name}, which is of step {step:,}, will be written again; the former file is "
        f"kept as {kept.name}"
    )


def last_is_damaged(run: RunFolder, error: CheckpointError) -> CheckpointError:
    """The error for a last checkpoint that cannot be read, with what can still be done."""
    try:
        meta = checkpoint.load_meta(run.best)
    except (CheckpointError, OSError):
        return error
    step = f" (step {meta['step']:,})" if isinstance(meta.get("step"), int) else ""
    told = str(error).removesuffix(checkpoint.ELSE)
    return CheckpointError(
        f"{told}. Put a whole one back to go on; `python evaluate.py {quote(str(run.path))}` evaluates "
        f"{run.best.name}{step}"
    )


def require_same_data(run: RunFolder, fingerprint: str) -> None:
    """Check that the data are those of the run, whose classes.json is missing; the last checkpoint knows them, too.

    Raises:
        UserError: they are others.
        CheckpointError: the last checkpoint is damaged.
    """
    if not run.last.exists():
        return
    known = checkpoint.load_meta(run.last).get("data")
    if known is None:
        _warn(
            f"{run.classes_file}: missing; it is written anew for these data, and whether they are those of the run "
            "cannot be checked"
        )
    elif known != fingerprint:
        raise UserError(
            f"{run.classes_file}: missing, and these are not the data of {run.path}; name them with data.root=DIR"
        )
    else:
        _warn(
            f"{run.classes_file}: missing; it is written anew: {run.last.name} tells that these are the data of the run"
        )


def _free_name(file: Path) -> Path:
    names = (file.with_name(f"{file.stem}-{number}{file.suffix}") for number in count(1))
    return next(name for name in names if not name.exists())


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)
