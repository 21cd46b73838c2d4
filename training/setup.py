"""From a configuration to what it configures: data set, optimizer, training step."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from common.errors import ConfigError, DataError
from common.text import counted
from data.augment import Augmentation
from data.dataset import Dataset
from data.form import Form
from data.holdout import hold_out
from data.registry import SOURCES
from data.subset import first_classes
from model.layers.patch_embedding import height_width
from model.masked_squared_error import MaskedSquaredError
from model.vit import ViT
from optim import Optimizer
from optim.adamw import AdamW
from optim.ema import EMA
from optim.muon import Muon
from optim.schedule import Constant, Schedule, WarmupCosine
from training.autoencoder import check_autoencoder
from training.config import Config
from training.objective import Classification, MaskedReconstruction, Objective
from training.options import OptimConfig, TrainConfig
from training.step import TrainingStep, default_accumulate, default_concurrency

HELD_OUT = 0.1
"""The share of the images that is validated on where a data set has none for that, and data.holdout is null."""


def load_dataset(config: Config, draw: bool = True, quiet: bool = False) -> Dataset:
    """The data set that the configuration selects, its images brought to the size and channels of the model.

    With `draw`, a generated data set is generated first where its folder is missing or empty. `data.classes` keeps only
    the first classes. With `data.holdout`, `val` consists of training images, which `train` then lacks.

    Raises:
        DataError: the data set is missing or damaged (the message says how to get it), or too small for these options.
    """
    data, form = config.data, image_form(config)
    source, folder = SOURCES[data.name], data.folder
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: a file, where the folder of a data set is expected; name that with data.root=DIR")
    if not folder.exists():
        folder = folder.absolute()  # a relative one is in the current folder, which a message should name
    if source.generate is not None and not (folder.exists() and any(folder.iterdir())):
        if not draw:
            raise DataError(
                f"{folder}: there is no such folder; name it with data.root=DIR, or generate the data again with "
                f"`python -m data.{data.name} --to {shlex.quote(str(folder))}`"
            )
        source.generate(folder, workers=data.workers, quiet=quiet)
    load = source.load
    if data.val_folder is not None:
        if source.validated_on is None:
            raise ConfigError(
                f"data.val_folder={data.val_folder}: data.name={data.name} has no such folders; leave it out"
            )
        if data.holdout:
            raise ConfigError(
                f"data.val_folder={data.val_folder} and data.holdout={data.holdout:g} both say what to validate on: "
                "leave one of them out"
            )
        load = source.validated_on(data.val_folder)
    dataset = load(folder, data.cache_folder, data.workers, quiet, form)
    share = data.holdout
    if share is None:
        share = HELD_OUT if source.split_by_content and not len(dataset.val.labels) else 0.0
    chosen = hold_out(first_classes(dataset, data.classes), share, source.split_by_content)
    if not len(chosen.val.labels):
        few = "" if data.classes is None else f" of the first {data.classes} classes (data.classes); choose more, or"
        raise DataError(
            f"{folder}: there are no validation images{few or ';'} validate on training images with data.holdout=0.1"
        )
    return chosen


def image_form(config: Config) -> Form:
    """What the images are brought to: the size and channels of the model, as far as they are not taken from the data.

    Raises:
        ConfigError: the model wants channels that no image has.
    """
    model = config.model
    if model.channels not in (1, 3):
        raise ConfigError(f"model.channels={model.channels}: images have 1 (grey) or 3 (RGB)")
    size = None if "image_size" in config.from_data else height_width(model.image_size)
    channels = None if "channels" in config.from_data else cast(Literal[1, 3], model.channels)
    return Form(size, channels, config.data.resize, config.data.broken)


def fit_to_data(config: Config, dataset: Dataset) -> Config:
    """The configuration with what was left to the data: of the model the options that are null, and data.holdout.

    Raises:
        ConfigError: the model cannot have the size of the images.
    """
    height, width, channels = dataset.train.images.shape[1:]
    found: dict[str, Any] = {
        "image_size": height if height == width else (height, width),
        "channels": channels,
        "num_classes": len(dataset.class_ids),
    }
    data = replace(config.data, holdout=dataset.held_out)
    try:
        model = replace(config.model, **{name: found[name] for name in config.from_data})
    except ValueError as error:
        raise ConfigError(
            f"model: {error}. The images have {width}x{height} pixels; model.image_size=64, for example, has them "
            "resized"
        ) from None
    check_autoencoder(model, config.mae, f"with images of {width}x{height} pixels")
    return replace(config, model=model, data=data, from_data=())


def require_known(config: Config) -> None:
    """Raises ConfigError where options of the model are those of data of which nothing is known without them."""
    if config.from_data and SOURCES[config.data.name].known is None:
        example = {"image_size": 64, "channels": 3, "num_classes": 10}
        given = " ".join(f"model.{name}={example[name]}" for name in config.from_data)
        raise ConfigError(f"--summary does not open the data: say what they have, for example {given}")


def describe_validation(dataset: Dataset) -> str:
    """The images of `dataset.val` in words, as in `10,000 validation images`."""
    count = len(dataset.val.labels)
    held_out = f"{counted(count, 'training image')} held out (data.holdout={dataset.held_out:g})"
    return held_out if dataset.held_out else counted(count, "validation image")


def check_fit(model: ViT, dataset: Dataset, run: Path | None = None) -> None:
    """Raises ConfigError if the model expects another number of classes or another image size than the data have.

    `run` is the folder of a run if the model is trained: then the advice is not to change the model, but to name the
    data of the run.
    """
    classes = len(dataset.class_ids)
    if model.num_classes != classes:
        raise ConfigError(
            f"model.num_classes={model.num_classes}, but the data have {counted(classes, 'class', 'classes')}: "
            + _advice([f"model.num_classes={classes}"], run)
        )
    height, width, channels = dataset.train.images.shape[1:]
    changes = [f"model.image_size=[{height},{width}]"] if height_width(model.image_size) != (height, width) else []
    changes += [f"model.channels={channels}"] if model.channels != channels else []
    if changes:
        raise ConfigError(
            f"model.image_size={model.image_size} and model.channels={model.channels}, but the images of the data are "
            f"{height}x{width} with {counted(channels, 'channel')}: {_advice(changes, run)}"
        )


def _advice(changes: list[str], run: Path | None) -> str:
    return f"set {' '.join(changes)}" if run is None else f"name the data that {run} was trained on with data.root=DIR"


def check_padding(augment: Augmentation, height: int, width: int) -> None:
    """Raises ConfigError if a crop could miss an image of this size."""
    side = min(height, width)
    if augment.crop_padding >= side:
        raise ConfigError(
            f"augment.crop_padding={augment.crop_padding}: a crop could miss the image: choose less than {side}"
        )


def steps_per_epoch(config: TrainConfig, dataset: Dataset) -> int:
    """Number of full batches in the training images. Raises ConfigError if there is none."""
    images = len(dataset.train.labels)
    if config.batch_size > images:
        raise ConfigError(
            f"train.batch_size={config.batch_size} is more than the {counted(images, 'training image')}: choose a "
            "smaller one"
        )
    return images // config.batch_size


def build_schedule(config: OptimConfig, total_steps: int) -> Schedule:
    """The learning rate as a function of the step. `config.warmup` is a fraction of all steps."""
    warmup_steps = min(round(config.warmup * total_steps), total_steps - 1)
    if config.schedule == "constant":
        return Constant(config.learning_rate, warmup_steps)
    return WarmupCosine(config.learning_rate, warmup_steps, total_steps, config.final_learning_rate)


def build_optimizer(config: OptimConfig, total_steps: int) -> Optimizer:
    """The optimizer that the configuration names, with its schedule."""
    adamw = AdamW(
        build_schedule(config, total_steps),
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
    return Muon(adamw, config.momentum, config.newton_schulz_steps) if config.name == "muon" else adamw


def objective_of(config: Config) -> Objective:
    """What the configuration has the training minimize."""
    autoencoder = config.autoencoder
    if autoencoder is None:
        return Classification(config.model, config.loss)
    return MaskedReconstruction(autoencoder, MaskedSquaredError(config.mae.normalize_patches))


def build_step(config: Config, dataset: Dataset, total_steps: int, platform: str) -> TrainingStep:
    """The training step of a run of `total_steps` steps on a `platform` ("cpu" or "gpu")."""
    return TrainingStep(
        objective=objective_of(config),
        optimizer=build_optimizer(config.optim, total_steps),
        mean=dataset.mean,
        std=dataset.std,
        max_grad_norm=config.optim.max_grad_norm,
        augmentation=config.augment,
        seed=config.train.seed,
        accumulate=config.train.accumulate or default_accumulate(config.train.batch_size, platform),
        concurrent_microbatches=default_concurrency(platform),
        ema=None if config.optim.ema is None else EMA(config.optim.ema),
        freeze=config.train.freeze,
    )
