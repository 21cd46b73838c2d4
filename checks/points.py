"""The point of a full-size check: the model of a preset at random parameters, or a trained one on real images."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from checks.full_size import Point, dropout_key, random_point
from common.errors import UserError
from data.augment import normalize
from model.vit import ViT
from training.arguments import preset_and_overrides
from training.config import load_config
from training.presets import preset_names
from training.run_folder import RunFolder
from training.setup import check_fit, describe_validation, load_dataset
from training.size import check_size
from training.trained import CHECKPOINTS, load_trained
from verify.case import named


def load_point(args: argparse.Namespace) -> Point | None:
    """The point that the arguments of gradcheck.py ask for; None for the tiny shapes.

    Raises:
        UserError: there is no such preset, run or data set, or it does not fit.
    """
    if args.checkpoint:
        return trained_point(args.checkpoint, args.arguments, args.seed, args.batch)
    if not args.arguments:
        return None
    preset, overrides = preset_and_overrides(args)
    if preset is None:
        names = ", ".join(preset_names(args.config))
        raise UserError(f"{overrides[0]}: name the preset that this overrides, one of {names}")
    config = load_config(preset, overrides, args.config)
    check_size(asdict(config.model), images=args.batch)
    return replace(random_point(in_full_precision(config.model), config.loss, args.seed, args.batch), config=config)


def trained_point(folder: str, overrides: Sequence[str], seed: int, batch: int) -> Point:
    """The weights of a run, as `load_trained` chooses them, and `batch` of its validation images. `folder` may also be
    that of one of its checkpoints, as in `runs/demo/last.npz`."""
    places = ("data.root", "data.cache", "data.workers")
    path, chosen_name = Path(folder), None
    if path.suffix == ".npz" and path.stem in CHECKPOINTS and not path.is_dir():
        path, chosen_name = path.parent, path.stem
    other = f"--checkpoint {shlex.quote(str(path))}/{{name}}.npz"
    run = RunFolder.open(path)
    trained = load_trained(run, overrides, places, checkpoint_name=chosen_name, any_precision=True, other=other)
    config, classes = trained.config, trained.classes
    dataset = load_dataset(config)
    check_fit(config.model, dataset, trained.run.path)
    described = describe_validation(dataset)
    if batch > len(dataset.val.labels):
        raise UserError(f"--batch {batch}: there are {described}")
    chosen = np.sort(np.random.default_rng(seed).choice(len(dataset.val.labels), size=batch, replace=False))
    images = normalize(jnp.asarray(dataset.val.images[chosen]), classes.mean, classes.std, jnp.float32)
    print(f"{trained.description} on images {', '.join(map(str, chosen))} of {described}")
    doubled = {name: np.asarray(array, np.float64) for name, array in named(trained.params).items()}
    labels = np.asarray(dataset.val.labels[chosen])
    model = in_full_precision(config.model)
    return Point(model, config.loss, doubled, np.asarray(images, np.float64), labels, dropout_key(model, seed), config)


def in_full_precision(model: ViT) -> ViT:
    """The model without half precision: the check is of its formulas, in float64."""
    if model.dtype == "bfloat16":
        print("model.dtype=bfloat16: checked are the same formulas, in float64")
    return replace(model, dtype="float32")
