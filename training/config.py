"""The configuration of a run: a preset of `configs.yml`, with `section.key=value` overrides from the command line.

All defaults are in `configs.yml`: its section `defaults` lists every option once, and a preset lists what differs.
The sections `model`, `loss` and `augment` are the classes of the model, the loss and the augmentation themselves. The
other sections are in options.py. All classes are frozen and hashable.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from common.errors import ConfigError
from data.augment import Augmentation
from data.registry import SOURCES
from model.layers.patch_embedding import height_width
from model.loss import CrossEntropy
from model.mae import MAE
from model.vit import ViT
from training import fields
from training.aliases import options_called, why_without
from training.autoencoder import build_autoencoder, check_autoencoder, check_options
from training.dependence import check_together, without_effect
from training.fields import as_named, as_written, nearest
from training.options import LENGTHS, DataConfig, MAEConfig, OptimConfig, TrainConfig
from training.presets import Presets, mapping, read_presets
from training.size import check_size
from training.yaml_text import dump_yaml, parse_yaml

Values = dict[str, dict[str, Any]]  # section -> key -> value


class UnknownOptionError(ConfigError):
    """There is no such option, or no such section."""


@dataclass(frozen=True)
class Config:
    preset: str  # only its name: overrides may have changed the sections
    model: ViT
    loss: CrossEntropy
    mae: MAEConfig
    optim: OptimConfig
    data: DataConfig
    augment: Augmentation
    train: TrainConfig
    from_data: tuple[str, ...] = ()  # the options of the model that are null: `model` has what is expected of the data

    @property
    def autoencoder(self) -> MAE | None:
        """The masked autoencoder around `model`; None: the model learns from labels.

        Raises:
            ValueError: its sizes do not fit those of the model.
        """
        return build_autoencoder(self.model, self.mae)

    @property
    def network(self) -> ViT | MAE:
        """What is trained: the model, or the autoencoder around it."""
        return self.autoencoder or self.model

    @property
    def accuracy(self) -> str:
        """The name of the accuracy on validation images; without labels it is that of a linear probe."""
        return "top-1" if self.mae.mask is None else "probe"

    def values(self) -> Values:
        """Every option with its value, by section and key."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        sections["model"] |= dict.fromkeys(self.from_data)
        return sections

    def options(self) -> dict[str, Any]:
        """Every option with its value, by its name on the command line."""
        return _by_name(self.values())

    def to_yaml(self) -> str:
        """Every option with its value; `from_yaml` reads it back to an equal configuration."""
        plain = {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in section.items()}
            for name, section in self.values().items()
        }
        return dump_yaml({"preset": self.preset, **plain})


FROM_DATA = ("image_size", "channels", "num_classes")
"""The options of the model that may be null: they are then taken from the data."""

SECTIONS: dict[str, type] = {
    name: kind for name, kind in get_type_hints(Config).items() if name not in ("preset", "from_data")
}
ADDED = ("mae",)
"""Sections that the configurations of earlier versions do not have."""
KINDS: dict[str, dict[str, Any]] = {
    section: {
        field.name: get_type_hints(cls, include_extras=True)[field.name]
        for field in dataclasses.fields(cls)
        if field.init
    }
    for section, cls in SECTIONS.items()
}
KINDS["model"] |= {name: KINDS["model"][name] | None for name in FROM_DATA}
OPTIONS = {f"{section}.{key}": kind for section, kinds in KINDS.items() for key, kind in kinds.items()}
"""Every option, `section.key`, and its type."""


def load_config(
    preset: str, overrides: list[str] | None = None, path: Path | None = None, *, allow_idle: bool = False
) -> Config:
    """The named preset with `section.key=value` overrides. Of two for the same key, the later one wins.

    `path` is a file of presets of one's own (presets.py); without it, presets are those of `configs.yml`. Overrides
    that have no effect are refused, unless `allow_idle`.

    Raises:
        ConfigError: a preset or a value cannot be used; the message names the key, its value and what is expected.
    """
    config, idle = load_with_idle(preset, overrides, path)
    if not allow_idle:
        _require_effect(idle)
    return config


def load_with_idle(
    preset: str, overrides: list[str] | None = None, path: Path | None = None
) -> tuple[Config, dict[str, str]]:
    """As `load_config(..., allow_idle=True)`, and why overrides have no effect, by the names of their options."""
    presets = read_presets(path)
    misplaced = next((name for name in presets.presets if name in SECTIONS), None)
    if misplaced:
        raise ConfigError(f"{presets.file}: {misplaced} is a section: put it below the name of a preset")
    values = defaults = _read_defaults(presets)
    for where, sections in presets.layers(preset):
        values = _merge(values, _read_sections(sections, where))
    given = read_overrides(overrides or [])
    source = " ".join([f"preset {preset}", *(["with", *overrides] if overrides else [])])
    config = _build(preset, _merge(values, given), source)
    return config, without_effect(_by_name(given), (_by_name(values), _by_name(defaults)), config.options())


def _require_effect(idle: dict[str, str]) -> None:
    if idle:
        raise ConfigError(next(iter(idle.values())))


def missing_options(text: str, source: str) -> list[str]:
    """The options that the configuration of a run, which `from_yaml` reads, does not have."""
    document = parse_yaml(text, source)
    names = {f"{section}.{key}" for section, values in document.items() if isinstance(values, dict) for key in values}
    whole = [section for section in ADDED if section not in document]  # there is nothing odd about an earlier version
    return [option for option in OPTIONS if option not in names and option.partition(".")[0] not in whole]


def from_yaml(
    text: str, source: str = "config.yml", path: Path | None = None, overrides: list[str] | None = None
) -> Config:
    """The configuration that `to_yaml` wrote, with overrides. Options added since then take their values from
    `defaults`.

    Raises:
        ConfigError: as for `load_config`; `source` names the text in the message.
    """
    document = parse_yaml(text, source)
    if not isinstance(document, dict) or not isinstance(document.get("preset"), str):
        raise ConfigError(f"{source}: not the configuration of a run: it has no line `preset: <name>`")
    preset = document.pop("preset")
    lost = [section for section in SECTIONS if section not in document and section not in ADDED]
    if lost and document.keys() <= SECTIONS.keys():  # an unknown one is named below
        raise ConfigError(f"{source}: damaged or cut short: there is no section {lost[0]}; put the whole file back")
    try:
        values = _merge(_read_defaults(read_presets(path)), _read_sections(document, source))
    except UnknownOptionError as error:
        raise ConfigError(f"{error}; correct the line or delete it") from None
    given = read_overrides(overrides or [])
    config = _build(preset, _merge(values, given), source)
    _require_effect(without_effect(_by_name(given), (_by_name(values),), config.options()))
    return config


def default_values() -> Values:
    """Every option with its default in `configs.yml`, by section and key. Raises ConfigError as `load_config` does."""
    return _read_defaults(read_presets())


def _read_defaults(presets: Presets) -> Values:
    where, content = presets.defaults
    values = _read_sections(content, where)
    missing = [option for option in OPTIONS if option.partition(".")[2] not in values.get(option.partition(".")[0], {})]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing; list every option there")
    return values


def _read_sections(content: object, where: str) -> Values:
    values: Values = {}
    for section, options in mapping(content, where).items():
        if section not in SECTIONS:
            raise UnknownOptionError(f"{where}: unknown section {section}; {nearest(str(section), SECTIONS)}")
        values[section] = {}
        for key, value in mapping(options, f"{where}: {section}").items():
            kind = _kind(section, str(key), where)
            try:
                values[section][key] = fields.read(kind, value)
            except ValueError:
                raise _mismatch(f"{where}: {section}.{key}={as_written(value)}", kind, value) from None
    return values


def read_overrides(overrides: list[str]) -> Values:
    """Overrides `section.key=value` with their values, by section and key. Raises ConfigError."""
    values: Values = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot:
            raise ConfigError(f"{override}: expected section.key=value; {_meant(name)}")
        if section not in SECTIONS:
            raise ConfigError(f"{override}: unknown section {as_named(section)}; {_meant(name)}")
        kind = _kind(section, key, override)
        try:
            if not text:  # YAML reads an empty text as null, which is seldom what was meant
                raise ValueError
            values.setdefault(section, {})[key] = fields.read_text(kind, text)
        except ValueError:
            raise _mismatch(override, kind, text) from None
    return values


def _kind(section: str, key: str, where: str) -> Any:
    if key not in KINDS[section]:
        name = f"{section}.{key}"
        raise UnknownOptionError(f"{where}: unknown option {as_named(name)}; {_meant(name)}")
    return KINDS[section][key]


def _meant(name: str) -> str:
    """The end of a message about the unknown option `name`: what it is called here, or a similar one."""
    section, dot, key = (part.strip() for part in name.partition("."))
    meant, reason = options_called(name, OPTIONS), why_without(name)
    if meant:
        return f"did you mean {' or '.join(meant)}?"
    if reason:
        return f"there is none, as {reason}"
    if dot and section in KINDS:
        return nearest(key, KINDS[section]).replace("did you mean ", f"did you mean {section}.")
    return nearest(name, OPTIONS, otherwise="--help lists the options")


def _mismatch(what: str, kind: Any, value: object) -> ConfigError:
    choices = fields.choices(kind)
    near = nearest(value, choices, otherwise="-") if isinstance(value, str) and choices else "-"
    if "a number" in fields.describe(kind) and fields.out_of_range(value):
        near = f"float32 holds {fields.SMALLEST:.1e} to {fields.LARGEST:.1e}"
    hint = "" if near == "-" else f"; {near}"
    return ConfigError(f"{what}: expected {fields.describe(kind)}{hint}")


def _by_name(values: Values) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, options in values.items() for key, value in options.items()}


def _merge(base: Values, over: Values) -> Values:
    merged = {section: {**base.get(section, {}), **over.get(section, {})} for section in SECTIONS}
    # Epochs, steps and minutes are three ways to set the same length: setting one replaces the others.
    length = {key: value for key, value in over.get("train", {}).items() if key in LENGTHS}
    if any(value is not None for value in length.values()):
        merged["train"] |= dict.fromkeys(LENGTHS) | length
    return merged


def _build(preset: str, values: Values, source: str) -> Config:
    from_data = tuple(name for name in FROM_DATA if values["model"][name] is None)
    values["model"] |= {name: value for name, value in _expected(values).items() if name in from_data}
    check_size(values["model"])  # the layers of a model might be too many to be made
    sections = {}
    for name, cls in SECTIONS.items():
        try:
            sections[name] = cls(**values[name])
        except ValueError as error:
            raise ConfigError(f"{source}: {name}: {error}") from None
    config = Config(preset=preset, **sections, from_data=from_data)
    check_options(config.options(), source)
    if "image_size" not in from_data or SOURCES[config.data.name].known:  # else when it is known
        check_autoencoder(config.model, config.mae, source)
    check_together(config.options(), source)
    return config


def _expected(values: Values) -> dict[str, Any]:
    """What the data will have as far as that is known without them, and else something that fits the model."""
    data, known = values["data"], SOURCES[values["data"]["name"]].known
    sides = known.size if known else tuple(8 * side for side in height_width(values["model"]["patch_size"]))
    classes = known.classes if known else 2
    return {
        "image_size": sides[0] if sides[0] == sides[1] else sides,
        "channels": known.channels if known else 3,
        "num_classes": min(data["classes"] or classes, classes) if known else data["classes"] or classes,
    }
