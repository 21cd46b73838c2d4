"""What the section `mae` configures: a masked autoencoder around the model, and which options have no effect then."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from common.errors import ConfigError
from model.mae import MAE
from model.vit import ViT
from training.fields import show
from training.options import MAEConfig
from training.size import check_size

WITHOUT = {
    "loss.label_smoothing": (0.0, "there are no labels"),
    "augment.mixup": (0.0, "there are no labels to mix"),
    "augment.cutmix": (0.0, "there are no labels to mix"),
    "train.start_from": (None, "an autoencoder begins with drawn parameters"),
    "train.freeze": (None, "nothing of an autoencoder is frozen"),
}
"""What these options must be with an autoencoder, and why."""
SIZES = {"d_model": "decoder_dim", "heads": "decoder_heads", "layers": "decoder_layers", "mlp_dim": "decoder_mlp_dim"}
"""The options of the model, and what they are called for the decoder."""


def build_autoencoder(model: ViT, mae: MAEConfig) -> MAE | None:
    """The masked autoencoder around `model`; None: the model learns from labels.

    Raises:
        ValueError: its sizes do not fit those of the model.
    """
    if mae.mask is None:
        return None
    autoencoder = MAE(model, mae.mask, **{name: getattr(mae, name) for name in SIZES.values()})
    if mae.normalize_patches and autoencoder.patchify.patch_values < 2:
        raise ValueError("a patch of one value has no variance: set mae.normalize_patches=false")
    return autoencoder


def check_options(options: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError if an autoencoder is trained, and an option is given that could have no effect.

    `options` has the values of all options by their names.
    """
    for name, (value, reason) in WITHOUT.items() if options["mae.mask"] is not None else ():
        if options[name] != value:
            raise ConfigError(
                f"{source}: {name}={show(options[name])} with mae.mask: {reason}; set {name}={show(value)}"
            )


def check_autoencoder(model: ViT, mae: MAEConfig, source: str) -> None:
    """Raises ConfigError if an autoencoder is trained and does not fit the model, or no machine."""
    if mae.mask is None:
        return
    decoder = dataclasses.asdict(model) | {option: getattr(mae, name) for option, name in SIZES.items()}
    check_size(decoder, names={option: f"mae.{name}" for option, name in SIZES.items()})
    try:
        build_autoencoder(model, mae)
    except ValueError as error:
        raise ConfigError(f"{source}: mae: {error}") from None
