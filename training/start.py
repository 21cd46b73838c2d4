"""Where a training starts from: parameters that are drawn, or those of a run or of a file of weights.

`train.start_from` names a run or a file of weights (docs/weights.md). Everything that fits is taken; positions are
resampled to another grid; a head of other classes is drawn anew (model/weights/fit.py).
"""

from dataclasses import dataclass
from pathlib import Path

import jax

from common.errors import UserError
from common.paths import named_path
from common.streams import printable
from common.text import counted, first_of
from model.layer import Params
from model.vit import ViT
from model.weights.fit import Fitted, fit
from training.config import Config
from training.run_folder import RunFolder
from training.step import TrainingStep, TrainState
from training.trained import load_trained
from training.weights.importing import UNKNOWN, find_file, read_weights

SHOWN = 3  # paths in a line of the table; the others are counted
ASSUMED_EQUAL = ("gelu", "eps", "norm", "residual", "pooling")  # options that change the function, and no shape


@dataclass(frozen=True)
class Start:
    source: str  # for messages
    model: ViT
    params: Params
    class_ids: tuple[str, ...] | None  # None: unknown


def require_start(config: Config) -> None:
    """Raises UserError if there is nothing at `train.start_from`. Asked before long work."""
    if config.train.start_from is not None:
        find_file(named_path(config.train.start_from))


def read_start(path: Path) -> Start:
    """The model in a run or in a file of weights.

    Raises:
        UserError: it is neither, or damaged.
    """
    if RunFolder(path).config_file.is_file():
        trained = load_trained(RunFolder.open(path), any_precision=True)
        return Start(trained.description, trained.model, trained.params, trained.classes.class_ids)
    imported = read_weights(path)
    known = imported.classes.fingerprint != UNKNOWN
    class_ids = imported.classes.class_ids if known else None
    return Start(str(imported.file), imported.config.model, imported.found.params, class_ids)


def starting_state(step: TrainingStep, config: Config, class_ids: tuple[str, ...], device: jax.Device) -> TrainState:
    """The state before the first step. Prints what was taken, where `train.start_from` names something.

    Raises:
        UserError: what `train.start_from` names cannot be read, or its model has other sizes.
    """
    state: TrainState = jax.jit(TrainingStep.init, static_argnums=0)(step)
    if config.train.start_from is None:
        return state
    start = read_start(named_path(config.train.start_from))
    try:
        fitted = fit(config.model, state.params, start.model, start.params, head=start.class_ids == class_ids)
    except ValueError as error:
        raise UserError(f"train.start_from={config.train.start_from}: {error}") from None
    for line in describe(start, config.model, fitted):
        print(printable(line), flush=True)
    average = None if step.ema is None else step.ema.init(fitted.params)
    started: TrainState = jax.device_put(TrainState(fitted.params, state.optimizer, average), device)
    return started


def describe(start: Start, model: ViT, fitted: Fitted) -> list[str]:
    """A table of what was taken, resampled and drawn."""
    lines = [f"start   {start.source}"]
    for kind in ("taken", "resampled", "drawn", "unused"):
        paths = getattr(fitted, kind)
        if not paths:
            continue
        named = counted(len(paths), "array") if kind == "taken" else first_of(paths, SHOWN)
        lines.append(f"        {kind:9} {named}")
    different = [
        f"{name}={getattr(start.model, name)}"
        for name in ASSUMED_EQUAL
        if getattr(start.model, name) != getattr(model, name)
    ]
    if different:
        lines.append(f"        note: it was trained with {' '.join(f'model.{text}' for text in different)}")
    return lines
