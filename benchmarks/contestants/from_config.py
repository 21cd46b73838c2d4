"""From a configuration to the problem that all contestants solve, and the parameters that all start from."""

from typing import Any

import jax
import numpy as np

from benchmarks.contestants.own import own_model
from benchmarks.contestants.problem import ARCHITECTURE, Params, Problem
from common.errors import UserError
from model.layers.patch_embedding import height_width
from training.config import Config

SUPPORTED: dict[str, dict[str, object]] = {
    "model": {
        "norm": "pre", "residual": True, "final_norm": True, "pooling": "class_token", "class_token": True,
        "positions": "learned", "patch_norm_before": False, "patch_norm_after": False, "qkv_bias": True, "dropout": 0.0,
        "embedding_dropout": 0.0, "attention_dropout": 0.0, "patch_dropout": 0.0, "drop_path": 0.0, "layer_scale": None,
        "learned_temperature": False, "masked_diagonal": False, "shifted_patches": False, "dtype": "float32",
    },
    "loss": {"label_smoothing": 0.0},
    "optim": {"name": "adamw", "schedule": "constant", "warmup": 0.0, "max_grad_norm": None, "ema": None},
    "augment": {
        "flip": False, "crop_padding": 0, "resized_crop": None, "color_jitter": 0.0, "policy": "none", "erasing": 0.0,
        "mixup": 0.0, "cutmix": 0.0,
    },
}  # fmt: skip
"""The only values that all contestants implement."""


def problem_from_config(config: Config, device: str, dtype: str) -> Problem:
    """Raises UserError if a contestant does not implement the configuration; the message names what to set."""
    unsupported = []
    for section, options in SUPPORTED.items():
        for key, value in options.items():
            if getattr(getattr(config, section), key) != value:
                shown = "null" if value is None else str(value).lower()
                unsupported.append(f"{section}.{key}={shown}")
    if unsupported:
        raise UserError(f"the contestants are plain; compare with {' '.join(unsupported)}, or take the preset baseline")
    model, optim = config.model, config.optim
    architecture: dict[str, Any] = {name: getattr(model, name) for name in ARCHITECTURE}
    for name in ("image_size", "patch_size"):
        architecture[name] = height_width(architecture[name])
    return Problem(
        **architecture,
        norm_eps=model.eps,
        batch=config.train.batch_size,
        accumulate=config.train.accumulate,
        learning_rate=optim.learning_rate,
        beta1=optim.beta1,
        beta2=optim.beta2,
        adam_eps=optim.eps,
        weight_decay=optim.weight_decay,
        device=device,
        dtype=dtype,
        seed=config.train.seed,
        pad_to_multiple_of=model.pad_to_multiple_of,
    )


def draw_params(problem: Problem) -> Params:
    """The engine's initial parameters, all perturbed: zeros (head, biases) would hide a wrong conversion to the names
    and shapes of another framework."""
    start = own_model(problem).init(jax.random.key(problem.seed))
    rng = np.random.default_rng(problem.seed + 1)
    return jax.tree.map(lambda leaf: np.asarray(leaf + 0.02 * rng.normal(size=leaf.shape), np.float32), start)
