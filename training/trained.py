"""A trained model: everything that a command needs of a finished run, loaded at once.

All commands choose alike: the best checkpoint, or the last one where there is no best yet, and in it the moving
average of the parameters where one was kept. `Trained.description` says what was chosen.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax

from common.errors import CheckpointError, UserError
from common.text import counted
from model.layer import Params
from model.mae import MAE
from model.vit import ViT
from training import checkpoint
from training.config import Config
from training.progress import Progress
from training.run_folder import Classes, RunFolder

Weights = Literal["raw", "average"]
WEIGHTS: dict[Weights, str] = {"raw": "raw parameters", "average": "moving average of the parameters"}
PARTS: dict[Weights, str] = {"raw": "params", "average": "average"}  # of a checkpoint
CHECKPOINTS = ("best", "last")


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """`--checkpoint` and `--weights`, which choose among the parameters of a run."""
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, help="default: best, or last where there is no best yet")
    parser.add_argument(
        "--weights",
        choices=tuple(WEIGHTS),
        help="the parameters as trained, or their moving average (default: the average if there is one)",
    )


@dataclass(frozen=True, eq=False)
class Trained:
    run: RunFolder
    config: Config
    classes: Classes
    checkpoint: Path  # the file that the parameters come from
    step: int  # updates before it was saved
    weights: Weights  # which of the weights in it
    params: Params

    @property
    def model(self) -> ViT:
        return self.config.model

    @property
    def model_params(self) -> Params:
        """The parameters that `model` has: all, or those of the encoder of an autoencoder, which has no head."""
        return {name: branch for name, branch in self.params.items() if name != "decoder"}

    @property
    def description(self) -> str:
        """What was loaded, as in `runs/demo/best.npz (step 5,400, raw parameters)`."""
        return f"{self.checkpoint} (step {self.step:,}, {WEIGHTS[self.weights]})"


def load_trained(
    run: RunFolder,
    overrides: Sequence[str] = (),
    overridable: Sequence[str] = (),
    *,
    checkpoint_name: str | None = None,
    weights: Weights | None = None,
    any_precision: bool = False,
    without_labels: bool = False,
    other: str = "--checkpoint {name}",
) -> Trained:
    """The trained model of `run`.

    Args:
        overrides: `section.key=value` of the options that are named in `overridable`.
        checkpoint_name: "best" or "last"; None: the best one, or the last one where there is no best one yet.
        weights: "raw" or "average"; None: the average where there is one.
        any_precision: parameters have the floating-point type that they were saved in, whichever it is. Otherwise it
            must be JAX's default one.
        without_labels: whether a run that was trained without labels will do (`mae.mask`); it classifies nothing.
        other: how the user chooses the other checkpoint, for messages; `{name}` stands for "best" or "last".

    Prints a warning if the best checkpoint is gone, and the last one is taken in its place.

    Raises:
        UserError: the run was trained without labels, another option is overridden, there is no best checkpoint yet or
            no average in the checkpoint, or the file of the classes is missing or damaged.
        ConfigError: the configuration cannot be used.
        CheckpointError: the checkpoint is missing, damaged or of another model.
    """
    config, classes = run.read_config(overrides, overridable), run.read_classes()
    run.warn_of_missing_options()
    if config.mae.mask is not None and not without_labels:
        raise UserError(
            f"{run.path}: a masked autoencoder (mae.mask={config.mae.mask:g}), and this needs a classifier; train one "
            f"from it with train.start_from={shlex.quote(str(run.path))}"
        )
    _require_channels_of(run, classes, config.model)
    path = _checkpoint_file(run, checkpoint_name)
    try:
        chosen, params, step = _restore(path, config.network, weights, any_precision)
    except CheckpointError as error:
        raise _with_other_checkpoint(error, run, path, config.network, any_precision, other) from None
    if path == run.last and checkpoint_name is None and _was_evaluated(run):
        print(f"warning: {run.best}: missing; {run.last.name} is used in its place", file=sys.stderr)
    return Trained(run, config, classes, path, step, chosen, params)


def _restore(path: Path, model: ViT | MAE, weights: Weights | None, any_precision: bool) -> tuple[Weights, Params, int]:
    """Which weights were read from a checkpoint, these, and their step."""
    weights = _choose_weights(path, weights)
    template = jax.eval_shape(model.init, jax.random.key(0))
    params, meta = checkpoint.restore(path, template, PARTS[weights], any_precision)
    return weights, params, _step(meta, path)


def _with_other_checkpoint(
    error: CheckpointError, run: RunFolder, path: Path, model: ViT | MAE, any_precision: bool, how: str
) -> CheckpointError:
    """The error of a checkpoint that cannot be used. If the other one of the run can, it says how to use that."""
    name, other = ("last", run.last) if path == run.best else ("best", run.best)
    try:
        _, _, step = _restore(other, model, None, any_precision)
    except (CheckpointError, OSError):
        return error
    told = str(error).removesuffix(checkpoint.ELSE)
    return CheckpointError(f"{told}. {other.name} (step {step:,}) is whole: use it with {how.format(name=name)}")


def _was_evaluated(run: RunFolder) -> bool:
    """Whether the last checkpoint is later than an evaluation, which leaves a best one."""
    progress = Progress.from_meta(checkpoint.load_meta(run.last), run.last)
    return progress.loss_count < progress.step


def _require_channels_of(run: RunFolder, classes: Classes, model: ViT) -> None:
    if len(classes.mean) != model.channels:
        raise UserError(
            f"{run.classes_file}: damaged, or of another run: it has {counted(len(classes.mean), 'channel')}, and the "
            f"model of {run.config_file.name} has {model.channels}"
        )


def _step(meta: dict[str, Any], path: Path) -> int:
    """The step in the `meta` of best.npz, or in the progress that last.npz has there."""
    return Progress.from_meta({"progress": {"step": meta["step"]}} if "step" in meta else meta, path).step


def _checkpoint_file(run: RunFolder, name: str | None) -> Path:
    if name == "last":
        return run.last
    if run.best.exists() or not run.last.exists():
        return run.best
    if name is None:
        return run.last
    if _was_evaluated(run):
        raise UserError(f"{run.best}: missing; use --checkpoint last")
    raise UserError(f"{run.best}: this run has not been evaluated yet, so there is no best one; use --checkpoint last")


def _choose_weights(path: Path, weights: Weights | None) -> Weights:
    has_average = PARTS["average"] in checkpoint.branches(path)
    if weights == "average" and not has_average:
        raise UserError(f"{path}: no moving average in it, as optim.ema was null; use --weights raw, or leave it out")
    return weights or ("average" if has_average else "raw")
