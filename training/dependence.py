"""Options that depend on one another: some cannot be together, and some have an effect only with another one.

An option that needs another one to have an effect is refused without it, not ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from common.errors import ConfigError
from data.registry import SOURCES
from training.fields import as_written
from training.options import MAEConfig


@dataclass(frozen=True)
class Rule:
    """When options have an effect.

    Attributes:
        options: which.
        depend_on: the options that decide.
        holds: whether the options have an effect, given the values of those.
        advice: what to set, so that it holds.
    """

    options: tuple[str, ...]
    depend_on: tuple[str, ...]
    holds: Callable[..., bool]
    advice: str


def _any_set(*values: Any) -> bool:
    return any(values)


OF_BLOCKS = ("heads", "mlp_dim", "norm", "residual", "gelu", "qkv_bias", "pad_to_multiple_of")
OF_DECODER = tuple(field.name for field in fields(MAEConfig) if field.name != "mask")

RULES = (
    Rule(
        ("optim.momentum", "optim.newton_schulz_steps"),
        ("optim.name",),
        lambda name: name == "muon",
        "optim.name=muon",
    ),
    Rule(
        ("optim.final_learning_rate",),
        ("optim.schedule",),
        lambda schedule: schedule == "cosine",
        "optim.schedule=cosine",
    ),
    Rule(
        ("augment.rand_augment_ops", "augment.rand_augment_magnitude"),
        ("augment.policy",),
        lambda policy: policy == "rand_augment",
        "augment.policy=rand_augment",
    ),
    Rule(
        ("augment.mix_probability",),
        ("augment.mixup", "augment.cutmix"),
        _any_set,
        "augment.mixup or augment.cutmix",
    ),
    Rule(("augment.mixup", "augment.cutmix"), ("augment.mix_probability",), _any_set, "augment.mix_probability"),
    Rule(tuple(f"model.{name}" for name in OF_BLOCKS), ("model.layers",), _any_set, "model.layers"),
    Rule(
        ("model.eps",),
        (
            "model.norm",
            "model.layers",
            "model.final_norm",
            "model.patch_norm_before",
            "model.patch_norm_after",
            "mae.mask",
        ),
        lambda norm, layers, *others: (norm != "none" and layers > 0) or any(others),
        "one of these",
    ),
    Rule(("model.head_weights",), ("mae.mask",), lambda mask: mask is None, "mae.mask=null"),
    Rule(("model.drop_path_rule",), ("model.drop_path",), _any_set, "model.drop_path"),
    Rule(tuple(f"mae.{name}" for name in OF_DECODER), ("mae.mask",), _any_set, "mae.mask, such as mae.mask=0.75"),
    Rule(
        ("data.cache", "data.broken"),
        ("data.name",),
        lambda name: not SOURCES[name].in_memory,
        "data.name to one that consists of image files",
    ),
    Rule(
        ("train.share_optimizer",),
        ("train.devices", "train.distributed"),
        lambda devices, processes: devices != 1 or processes is not None,
        "train.devices",
    ),
)
"""What else a model without blocks has no use for, it refuses itself (model/vit.py)."""


def without_effect(
    given: Mapping[str, Any], usual: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, str]:
    """Of the options that were given, those that change nothing, and why.

    Args:
        given: the options that were given, by name, with their values.
        usual: sets of values of all options, such as the defaults: giving one of them again does no harm.
        options: the values of all options.
    """
    changed = [name for name, value in given.items() if all(value != values[name] for values in usual)]
    found: dict[str, str] = {}
    for rule in RULES:
        useless = [name for name in changed if name in rule.options]
        if useless and not rule.holds(*(options[name] for name in rule.depend_on)):
            state = " and ".join(f"{name}={as_written(options[name])}" for name in rule.depend_on)
            end = f"has no effect with {state}: leave it out, or set {rule.advice}"
            found |= {name: f"{name}={as_written(given[name])} {end}" for name in useless}
    return found


def check_together(options: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError if options are together that cannot be. `options` has the values of all of them, by name."""
    muon, frozen = options["optim.name"] == "muon", options["train.freeze"]
    if muon and not options["model.layers"]:
        raise ConfigError(f"{source}: model.layers=0 leaves no weight matrix for optim.name=muon: set optim.name=adamw")
    if muon and frozen:
        raise ConfigError(
            f"{source}: train.freeze={frozen} leaves no weight matrix for optim.name=muon: set optim.name=adamw"
        )
    if frozen and options["train.start_from"] is None:
        raise ConfigError(
            f"{source}: train.freeze={frozen} keeps parameters as they are, and without train.start_from they are "
            "drawn at random: name a run or a file of weights with train.start_from"
        )
