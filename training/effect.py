"""Options that have an effect only with another one: given where they change nothing, they are refused, not ignored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from common.errors import ConfigError
from training.fields import show
from training.options import MAEConfig


@dataclass(frozen=True)
class Rule:
    """When options have an effect.

    Attributes:
        options: which.
        depend_on: the options that decide.
        holds: of the values of those.
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
    Rule(tuple(f"model.{name}" for name in OF_BLOCKS), ("model.layers",), _any_set, "model.layers"),
    Rule(("model.drop_path_rule",), ("model.drop_path",), _any_set, "model.drop_path"),
    Rule(tuple(f"mae.{name}" for name in OF_DECODER), ("mae.mask",), _any_set, "mae.mask, such as mae.mask=0.75"),
    Rule(
        ("train.share_optimizer",),
        ("train.devices", "train.distributed"),
        lambda devices, processes: devices != 1 or processes is not None,
        "train.devices",
    ),
)
"""What else a model without blocks has no use for, it refuses itself (model/vit.py)."""


def check_effect(given: Mapping[str, Any], before: Mapping[str, Any], options: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError if an option was given that changes nothing.

    Args:
        given: the options that were given, by name, with their values.
        before: the values of all options without those. To give an option the value that it has is always allowed.
        options: the values of all options.
        source: what was given, for the message.
    """
    changed = [name for name, value in given.items() if value != before[name]]
    for rule in RULES:
        useless = [name for name in changed if name in rule.options]
        if useless and not rule.holds(*(options[name] for name in rule.depend_on)):
            state = " and ".join(f"{name}={show(options[name])}" for name in rule.depend_on)
            raise ConfigError(
                f"{source}: {useless[0]}={show(given[useless[0]])} has no effect with {state}: leave it out, or set "
                f"{rule.advice}"
            )
