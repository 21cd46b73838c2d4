"""Files of presets: `configs.yml`, which also lists every option with its default, and files of one's own.

A file of one's own (`--config FILE`) has a section for each preset, like `configs.yml`, and may extend the presets of
that file. It needs no section `defaults`; with one, as in an edited copy of `configs.yml`, it stands for itself.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from common.errors import ConfigError
from training.fields import as_written, nearest
from training.yaml_text import compose_yaml, parse_yaml, read_utf8

CONFIGS = Path(__file__).resolve().parent.parent / "configs.yml"
DEFAULTS = "defaults"
DEFAULT_PRESET = "tiny_imagenet"  # where a command names none
WIDTH = 80  # of a terminal
COMMENTS = 34  # the column where comments begin


class Section(NamedTuple):
    """A section of a file: what is read, and where it stands, for messages."""

    where: str
    content: Any


class Presets(NamedTuple):
    file: str  # its name, for messages
    defaults: Section
    presets: dict[str, Section]

    def layers(self, name: str) -> list[Section]:
        """The preset without its `extends`, after the presets that it extends: the later one wins.

        Raises:
            ConfigError: there is no such preset, or presets extend each other in a circle.
        """
        layers: list[Section] = []
        chain: list[str] = []
        following: str | None = name
        while following is not None:
            if following not in self.presets:
                where = f"{self.presets[chain[-1]].where}, extends: " if chain else ""
                raise ConfigError(f"{where}{self.file} has no preset {following}; {nearest(following, self.presets)}")
            if following in chain:
                circle = " -> ".join([*chain, following])
                raise ConfigError(f"{self.file}: presets extend each other in a circle: {circle}")
            chain.append(following)
            where, content = self.presets[following]
            sections = dict(mapping(content, where))
            parent = sections.pop("extends", None)
            if parent is not None and not isinstance(parent, str):
                raise ConfigError(f"{where}: extends={as_written(parent)}: expected the name of a preset")
            layers.insert(0, Section(where, sections))
            following = parent
        return layers


def read_presets(path: Path | None = None) -> Presets:
    """The presets of a file of one's own, with those of `configs.yml` unless it has defaults; without a path, the
    latter alone.

    Raises:
        ConfigError: the file is damaged, or both have a preset of the same name.
        OSError: it cannot be read.
    """
    path = path or CONFIGS
    document = _read_document(path)
    own = {name: Section(f"{path.name}, preset {name}", content) for name, content in document.items()}
    if DEFAULTS in own:
        del own[DEFAULTS]
        return Presets(path.name, Section(f"{path.name}, {DEFAULTS}", document[DEFAULTS]), own)
    if path.resolve() == CONFIGS:
        raise ConfigError(f"{path}: it has no section `{DEFAULTS}:` with the default of every option")
    base = read_presets()
    twice = [name for name in own if name in base.presets]
    if twice:
        raise ConfigError(f"{path}: {base.file} has a preset {twice[0]} too; give this one another name")
    return Presets(path.name, base.defaults, {**own, **base.presets})


def _read_document(path: Path) -> dict[str, Any]:
    document = parse_yaml(read_utf8(path), str(path))
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: it has no presets; each is a name and, below it, sections with options")
    if isinstance(document.get("preset"), str):
        raise ConfigError(
            f"{path}: the configuration of a run, and not a file of presets: continue the run with --resume, or put "
            "these sections below a name"
        )
    for name in document:
        # The name of a preset is part of the name of a folder.
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ConfigError(f"{path}: {as_written(name)} cannot name a preset: use letters, digits, - and _")
    return document


def mapping(content: object, where: str) -> dict[Any, Any]:
    """The lines of a section. Raises ConfigError if it is something else."""
    if content is None:  # `demo:` with nothing below it: a preset of defaults only
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected `key: value` lines, got {as_written(content)}")
    return content


def preset_names(path: Path | None = None) -> list[str]:
    """The names of the presets, in the order of the file."""
    return list(read_presets(path).presets)


def describe_presets() -> str:
    """Their names, for the `--help` of a command."""
    return textwrap.fill(f"presets: {', '.join(preset_names())}", WIDTH - 1, subsequent_indent="  ")


class Option(NamedTuple):
    name: str  # section.key
    default: str  # as written
    comment: str


def option_comments() -> Iterator[Option]:
    """Every option with its default and its comment from `configs.yml`."""
    text = read_utf8(CONFIGS)
    where, content = read_presets().defaults
    for section, options in mapping(content, where).items():
        mapping(options, f"{where}: {section}")
    lines = text.splitlines()
    document = compose_yaml(text, str(CONFIGS))
    assert document is not None
    defaults = next(value for key, value in document.value if key.value == DEFAULTS)
    for section, options in defaults.value if content else []:
        for key, value in options.value if isinstance(options, yaml.MappingNode) else []:
            line = lines[key.start_mark.line]
            comment = line[value.end_mark.column :].strip().removeprefix("#").strip()
            default = line[value.start_mark.column : value.end_mark.column]
            yield Option(f"{section.value}.{key.value}", default, comment)


def describe_options() -> str:
    """Every option with its default and its comment, for the `--help` of a command on a terminal of 80 columns."""
    entries = []
    for name, default, comment in option_comments():
        option = f"  {name}={default}"
        hanging = option.ljust(COMMENTS) if len(option) < COMMENTS - 1 else " " * COMMENTS
        before = "" if len(option) < COMMENTS - 1 else f"{option}\n"
        wrapped = textwrap.fill(comment, WIDTH - 1, initial_indent=hanging, subsequent_indent=" " * COMMENTS)
        entries.append(before + wrapped)
    return "\n".join(entries)
