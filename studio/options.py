"""The options of a preset as fields of a form: the value of each, its help from configs.yml, and what can be chosen."""

from collections.abc import Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from common.errors import ConfigError
from training import fields
from training.config import OPTIONS, Config, load_config
from training.fields import as_written
from training.presets import CONFIGS, option_comments, preset_names

MATTER = (
    "train.epochs", "optim.learning_rate", "train.batch_size", "optim.name",
    "model.layers", "model.d_model", "model.heads", "model.mlp_dim", "model.patch_size", "model.image_size",
    "augment.flip", "augment.policy", "augment.mixup", "augment.cutmix", "model.patch_dropout", "train.seed",
)  # fmt: skip
LABELS = {
    "optim.name": "optimizer", "model.d_model": "width of a token", "model.mlp_dim": "width of the feed-forward",
    "augment.flip": "mirror at random", "augment.policy": "augmentation policy",
}  # fmt: skip
LEFT_OUT = (
    "data.name", "data.root",  # by the choice of the data
    "train.distributed",  # a process that the studio begins trains alone
)  # fmt: skip
PATHS = ("data.cache", "train.start_from")  # options that name a file or a folder


class Field(NamedTuple):
    name: str  # section.key
    value: str  # in the preset, as it is written on the command line
    help: str
    choices: tuple[str, ...]  # (): any text

    @property
    def label(self) -> str:
        """Its name in words."""
        return LABELS.get(self.name, self.name.partition(".")[2].replace("_", " "))


def presets_for(data: str) -> list[str]:
    """The presets that train on the data set `data`, those for a processor first."""
    names = [name for name in preset_names() if _preset(name).data.name == data]
    first = ("demo", "tiny_imagenet_cpu", "image_folder")
    return sorted(names, key=lambda name: (name not in first, names.index(name)))


def fields_of(preset: str) -> list[Field]:
    """Every option of a preset, in the order of configs.yml."""
    values = _preset(preset).options()
    return [
        Field(option.name, written(values[option.name]), option.comment, choices_of(OPTIONS[option.name]))
        for option in _comments()
    ]


def about(preset: str) -> str:
    """What configs.yml says of a preset: the comment above it."""
    lines = CONFIGS.read_text(encoding="utf-8").splitlines()
    end = lines.index(f"{preset}:")
    start = end
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[start:end])


def overrides_of(preset: str, given: Mapping[str, str]) -> list[str]:
    """The values that differ from those of the preset, as `section.key=value`."""
    own = {field.name: field.value for field in fields_of(preset)}
    return [f"{name}={text.strip()}" for name, text in given.items() if text.strip() != own[name]]


def problem(preset: str, overrides: Sequence[str]) -> str | None:
    """What is wrong with the options, if anything."""
    try:
        load_config(preset, list(overrides))
    except ConfigError as error:
        return str(error)
    return None


def written(value: object) -> str:
    """A value as it is written behind `section.key=`."""
    plain = list(value) if isinstance(value, tuple) else value
    return as_written(plain)


def choices_of(kind: Any) -> tuple[str, ...]:
    """The only values of a type as they are written, if they can be listed: `true` and `false` of bool."""
    origin = get_origin(kind)
    if origin is Annotated:
        return fields.choices(kind) or choices_of(get_args(kind)[0])
    if origin in (Union, UnionType):
        parts = [choices_of(member) for member in get_args(kind)]
        return tuple(choice for part in parts for choice in part) if all(parts) else ()
    if kind is bool:
        return "true", "false"
    return ("null",) if kind is NoneType else fields.choices(kind)


@cache
def _preset(name: str) -> Config:
    return load_config(name)


@cache
def _comments() -> tuple[Any, ...]:
    return tuple(option_comments())
