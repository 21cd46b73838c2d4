"""Tiny runs whose parameters are exported and imported."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model.vit import ViT
from tests.oracle import normal, random_params
from training import checkpoint
from training.config import Config, load_config
from training.run_folder import Classes, RunFolder
from training.trained import load_trained
from training.weights.__main__ import main

OPTIONS = (
    "model.image_size=8", "model.channels=3", "model.patch_size=4", "model.d_model=8", "model.heads=4",
    "model.layers=2", "model.mlp_dim=12", "model.num_classes=3", "data.name=cifar10", "data.resize=pad",
)  # fmt: skip
CONFIG = load_config("baseline", list(OPTIONS))
MEAN = load_config(
    "baseline", [*OPTIONS, "model.pooling=mean", "model.class_token=false", "model.positions=sinusoidal_2d"]
)
ENCODER = load_config(
    "baseline", [*OPTIONS, "mae.mask=0.5", "mae.decoder_dim=8", "mae.decoder_heads=2", "mae.decoder_mlp_dim=8"]
)
CLASSES = Classes(("n0", "n1", "n2"), ("ant", "bee, wild", "cat"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "fingerprint")
IMAGES = normal(7, 2, 8, 8, 3).astype(np.float32)


def make_run(folder: Path, config: Config = CONFIG) -> RunFolder:
    run = RunFolder.create("baseline", folder)
    run.write_config(config)
    run.write_classes(CLASSES)
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), random_params(config.network))
    checkpoint.save(run.best, {"params": params}, {"step": 7})
    return run


@partial(jax.jit, static_argnums=0)  # compiled once for all runs of the same model
def forward(model: ViT, params: Any) -> jax.Array:
    return model.forward(params, IMAGES)[0]


def logits_of(run: RunFolder) -> np.ndarray:
    trained = load_trained(run)
    return np.asarray(forward(trained.model, trained.params))


def tokens_of(params: Any) -> np.ndarray:
    """What the encoder of ENCODER makes of the images, the class token first; no head is needed."""
    drawn = ENCODER.model.init(jax.random.key(0))
    return np.asarray(ENCODER.model.tokens({**drawn, **params}, IMAGES)[0])


def encoder_tokens(run: RunFolder) -> np.ndarray:
    return tokens_of(load_trained(run, without_labels=True).model_params)


def export(run: RunFolder, to: Path, *options: str) -> Path:
    assert main(["export", str(run.path), str(to), *options]) == 0
    return to


def imported(file: Path, *options: str) -> RunFolder:
    folder = file.parent / f"imported-{len(list(file.parent.glob('imported-*')))}"
    assert main(["import", str(file), "--run", str(folder), *options]) == 0
    return RunFolder.open(folder)
