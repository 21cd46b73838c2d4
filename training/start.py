"""Where a training starts from: parameters that are drawn, or those of a run or of a file of weights.

`train.start_from` names a run or a file of weights (docs/weights.md). Everything that fits is taken; positions are
resampled to another grid; a head of other classes is drawn anew (model/weights/fit.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap

import jax

from common.errors import UserError
from common.paths import named_path
from common.streams import printable
from common.text import counted, first_of
from model.layer import Params
from model.vit import ViT
from model.weights.fit import Sources, find_sources, fit
from model.weights.infer import HEADS
from training.classes import UNKNOWN
from training.config import Config
from training.run_folder import RunFolder
from training.step import TrainingStep, TrainState
from training.trained import load_trained
from training.weights.importing import read_weights

WIDTH = 80  # columns of the table
SHOWN = 3  # paths of a kind in the table; the others are counted
IF_OTHERS = " (usual for its width; if it has others, import it with model.heads=N, and start from that run)"
ASSUMED_EQUAL = ("gelu", "eps", "norm", "residual", "pooling", "positions")  # they change the function, and no shape


@dataclass(frozen=True)
class Start:
    source: str  # for messages
    model: ViT
    params: Params
    class_ids: tuple[str, ...] | None  # None: unknown
    assumes_heads: bool = False  # no file says how many heads there are


def configured_start(config: Config) -> Start | None:
    """What `train.start_from` names; None: it names nothing.

    Where nothing tells its heads, and its width is none of a published model, it has as many as the configured model.

    Raises:
        UserError: it cannot be read.
    """
    if config.train.start_from is None:
        return None
    start = read_start(named_path(config.train.start_from))
    unknown = start.assumes_heads and start.model.d_model not in HEADS
    if unknown and start.model.d_model == config.model.d_model:
        start = replace(start, model=replace(start.model, heads=config.model.heads))
    return start


def require_fit(start: Start | None, config: Config, class_ids: tuple[str, ...]) -> list[str]:
    """Check that the training can start so, before its folder is made. Returns what it starts from, in lines.

    Raises:
        UserError: the model has other sizes, or parameters that are drawn would be frozen.
    """
    if start is None:
        return []
    try:
        sources = find_sources(config.model, start.model, start.params, head=start.class_ids == class_ids)
    except ValueError as error:
        hint = IF_OTHERS if start.assumes_heads and start.model.heads != config.model.heads else ""
        raise UserError(f"train.start_from={config.train.start_from}: {error}{hint}") from None
    untrained = [path for path in sources.drawn if not path.startswith("head/")]
    if config.train.freeze and untrained:
        raise UserError(
            f"train.freeze={config.train.freeze}: {first_of(untrained, SHOWN)} would be drawn at random, as "
            f"{start.source} has none that fits, and stay so; give the model its sizes, or leave train.freeze out"
        )
    return [printable(line) for line in describe(start, config.model, sources)]


def read_start(path: Path) -> Start:
    """The model in a run or in a file of weights.

    Raises:
        UserError: it is neither, or damaged.
    """
    if RunFolder(path).config_file.is_file():
        trained = load_trained(RunFolder.open(path), any_precision=True, without_labels=True)
        return Start(trained.description, trained.model, trained.params, trained.classes.class_ids)
    imported = read_weights(path, need_head=False)
    known = imported.classes.fingerprint != UNKNOWN and imported.has_head
    class_ids = imported.classes.class_ids if known else None
    model, params = imported.config.model, imported.found.params
    return Start(str(imported.file), model, params, class_ids, "heads" in imported.assumed)


def starting_state(
    step: TrainingStep, start: Start | None, model: ViT, class_ids: tuple[str, ...], device: jax.Device
) -> TrainState:
    """The state before the first step; without `start`, all parameters are drawn. `require_fit` was asked before."""
    state: TrainState = jax.jit(TrainingStep.init, static_argnums=0)(step)
    if start is None:
        return state
    fitted = fit(model, state.params, start.model, start.params, head=start.class_ids == class_ids)
    average = None if step.ema is None else step.ema.init(fitted.params)
    started: TrainState = jax.device_put(TrainState(fitted.params, state.optimizer, average), device)
    return started


def describe(start: Start, model: ViT, sources: Sources) -> list[str]:
    """A table of what was taken, resampled and drawn."""
    lines = [f"start   {start.source}"]
    for kind in ("taken", "resampled", "drawn", "unused"):
        paths = getattr(sources, kind)
        if not paths:
            continue
        named = counted(len(paths), "array") if kind == "taken" else first_of(paths, SHOWN)
        lines += _in_lines(f"        {kind:9} ", named)
    different = [
        f"{name}={getattr(start.model, name)}"
        for name in ASSUMED_EQUAL
        if getattr(start.model, name) != getattr(model, name)
    ]
    if different:
        lines += _in_lines("        note: ", f"it was trained with {' '.join(f'model.{text}' for text in different)}")
    return lines


def _in_lines(title: str, text: str) -> list[str]:
    """The text behind its title in lines of a terminal, broken between words."""
    further = " " * len(title)
    return wrap(
        text, WIDTH, initial_indent=title, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
