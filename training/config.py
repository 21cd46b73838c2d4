"""The configuration of a run: a preset of `configs.yml`, with `section.key=value` overrides from the command line.

All defaults are in `configs.yml`: its section `defaults` lists every option once, and a preset lists what differs.
The sections `model`, `loss` and `augment` are the classes of the model, the loss and the augmentation themselves. The
other sections are in options.py. All classes are frozen and hashable.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from common.errors import ConfigError
from data.augment import Augmentation
from model.loss import CrossEntropy
from model.vit import ViT
from training import fields
from training.fields import nearest, show
from training.options import LENGTHS, DataConfig, OptimConfig, TrainConfig
from training.yaml_text import parse_yaml, read_utf8

CONFIGS = Path(__file__).resolve().parent.parent / "configs.yml"
DEFAULTS = "defaults"

Values = dict[str, dict[str, Any]]  # section -> key -> value


@dataclass(frozen=True)
class Config:
    preset: str  # only its name: overrides may have changed the sections
    model: ViT
    loss: CrossEntropy
    optim: OptimConfig
    data: DataConfig
    augment: Augmentation
    train: TrainConfig

    def to_yaml(self) -> str:
        """Every option with its value; `from_yaml` reads it back to an equal configuration."""
        sections = {name: dataclasses.asdict(getattr(self, name)) for name in SECTIONS}
        plain = {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in section.items()}
            for name, section in sections.items()
        }
        return yaml.safe_dump({"preset": self.preset, **plain}, sort_keys=False, allow_unicode=True)


SECTIONS: dict[str, type] = {name: kind for name, kind in get_type_hints(Config).items() if name != "preset"}
KINDS: dict[str, dict[str, Any]] = {
    section: {
        field.name: get_type_hints(cls, include_extras=True)[field.name]
        for field in dataclasses.fields(cls)
        if field.init
    }
    for section, cls in SECTIONS.items()
}


def load_config(preset: str, overrides: list[str] | None = None, path: Path = CONFIGS) -> Config:
    """The named preset with `section.key=value` overrides. Of two for the same key, the later one wins.

    Raises:
        ConfigError: a preset or a value cannot be used; the message names the key, its value and what is expected.
    """
    document = _read_document(path)
    values = _merge(_read_preset(document, preset, path), _read_overrides(overrides or []))
    return _build(preset, values, " ".join([f"preset {preset}", *(["with", *overrides] if overrides else [])]))


def from_yaml(
    text: str, source: str = "config.yml", path: Path = CONFIGS, overrides: list[str] | None = None
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
    values = _merge(_read_defaults(_read_document(path), path), _read_sections(document, source))
    return _build(preset, _merge(values, _read_overrides(overrides or [])), source)


def preset_names(path: Path = CONFIGS) -> list[str]:
    """The names of the presets, in the order of `configs.yml`."""
    return [name for name in _read_document(path) if name != DEFAULTS]


def describe_options(path: Path = CONFIGS) -> str:
    """A line per option, with its default and its comment from `configs.yml`, for the `--help` of a command."""
    text = read_utf8(path)
    _read_document(path)  # reports errors of YAML properly, which `compose` does not
    lines, rows = text.splitlines(), []
    for section, options in _entry(yaml.compose(text), DEFAULTS).value:
        for key, value in options.value:
            comment = lines[key.start_mark.line][value.end_mark.column :].strip().removeprefix("#").strip()
            default = lines[key.start_mark.line][value.start_mark.column : value.end_mark.column]
            rows.append((f"{section.value}.{key.value}={default}", comment))
    width = max(len(option) for option, _ in rows)
    return "\n".join(f"  {option:<{width}}  {comment}" for option, comment in rows)


def _entry(mapping: Any, name: str) -> Any:
    return next(value for key, value in mapping.value if key.value == name)


def _read_document(path: Path) -> dict[str, Any]:
    document = parse_yaml(read_utf8(path), str(path))
    if not isinstance(document, dict) or DEFAULTS not in document:
        raise ConfigError(f"{path}: it has no section `{DEFAULTS}:` with the default of every option")
    for name in document:
        # The name of a preset is part of the name of a folder.
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ConfigError(f"{path}: {name!r} cannot name a preset: use letters, digits, - and _")
    return document


def _read_defaults(document: dict[str, Any], path: Path) -> Values:
    values = _read_sections(document[DEFAULTS], f"{path.name}, {DEFAULTS}")
    missing = [f"{section}.{key}" for section in KINDS for key in KINDS[section] if key not in values.get(section, {})]
    if missing:
        raise ConfigError(f"{path.name}, {DEFAULTS}: {', '.join(missing)} is missing; list every option there")
    return values


def _read_preset(document: dict[str, Any], name: str, path: Path) -> Values:
    """The defaults, overridden by what the preset `extends`, overridden by its own values."""
    layers: list[Values] = []
    chain: list[str] = []
    following: str | None = name
    while following is not None:
        presets = [preset for preset in document if preset != DEFAULTS]
        if following not in presets:
            where = f"{path.name}, preset {chain[-1]}, extends: " if chain else ""
            raise ConfigError(f"{where}{path.name} has no preset {following}; {nearest(following, presets)}")
        if following in chain:
            raise ConfigError(f"{path.name}: presets extend each other in a circle: {' -> '.join([*chain, following])}")
        chain.append(following)
        source = f"{path.name}, preset {following}"
        sections = dict(_mapping(document[following], source))
        parent = sections.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise ConfigError(f"{source}: extends={show(parent)}: expected the name of a preset")
        layers.append(_read_sections(sections, source))
        following = parent
    values = _read_defaults(document, path)
    for layer in reversed(layers):
        values = _merge(values, layer)
    return values


def _mapping(raw: object, source: str) -> dict[Any, Any]:
    if raw is None:  # `demo:` with nothing below it: a preset of defaults only
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected `key: value` lines, got {show(raw)}")
    return raw


def _read_sections(raw: object, source: str) -> Values:
    values: Values = {}
    for section, options in _mapping(raw, source).items():
        if section not in SECTIONS:
            raise ConfigError(f"{source}: unknown section {section}; {nearest(str(section), SECTIONS)}")
        values[section] = {}
        for key, value in _mapping(options, f"{source}: {section}").items():
            kind = _kind(section, str(key), source)
            try:
                values[section][key] = fields.read(kind, value)
            except ValueError:
                raise _mismatch(f"{source}: {section}.{key}={show(value)}", kind) from None
    return values


def _read_overrides(overrides: list[str]) -> Values:
    values: Values = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot:
            raise ConfigError(f"{override}: expected section.key=value; {_nearest_option(name, name)}")
        if section not in SECTIONS:
            raise ConfigError(f"{override}: unknown section {section}; {_nearest_option(name, key)}")
        kind = _kind(section, key, override)
        try:
            if not text:  # YAML reads an empty text as null, which is seldom what was meant
                raise ValueError
            values.setdefault(section, {})[key] = fields.read_text(kind, text)
        except ValueError:
            raise _mismatch(override, kind) from None
    return values


def _nearest_option(name: str, key: str) -> str:
    """The end of a message about an unknown option: a similar one, preferably with the same key."""
    names = [f"{section}.{option}" for section in KINDS for option in KINDS[section]]
    same_key = [option for option in names if option.endswith(f".{key}")]
    return nearest(name, same_key or names, otherwise=", ".join(same_key) or "--help lists the options")


def _kind(section: str, key: str, source: str) -> Any:
    if key not in KINDS[section]:
        elsewhere = [f"{other}.{key}" for other in KINDS if key in KINDS[other]]
        hint = f"did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(key, KINDS[section])
        raise ConfigError(f"{source}: unknown option {section}.{key}; {hint}")
    return KINDS[section][key]


def _mismatch(what: str, kind: Any) -> ConfigError:
    return ConfigError(f"{what}: expected {fields.describe(kind)}")


def _merge(base: Values, over: Values) -> Values:
    merged = {section: {**base.get(section, {}), **over.get(section, {})} for section in SECTIONS}
    # Epochs, steps and minutes are three ways to set the same length: setting one replaces the others.
    length = {key: value for key, value in over.get("train", {}).items() if key in LENGTHS}
    if any(value is not None for value in length.values()):
        merged["train"] |= dict.fromkeys(LENGTHS) | length
    return merged


def _build(preset: str, values: Values, source: str) -> Config:
    sections = {}
    for name, cls in SECTIONS.items():
        try:
            sections[name] = cls(**values[name])
        except ValueError as error:
            raise ConfigError(f"{source}: {name}: {error}") from None
    return Config(preset=preset, **sections)
