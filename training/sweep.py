"""A sweep: a preset that is trained with every combination of some options' values, one run each.

Changes can be swept as well: the preset is trained as it is and with one change at a time, which shows the effect of
each. A change is treated like the value of an option.

sweep.yml    what is compared: preset, overrides, swept options and their values
table.md     the comparison, one line per run; with several seeds also their mean and standard deviation
table.csv    the same for a spreadsheet
presets.yml  a copy of the file that --config named, if it did
<values>     the folder of each run, named by its swept values, as in `learning_rate=5e-4,drop_path=0.1`

This file says what a sweep consists of; sweep_runner.py trains it. How far a sweep has come is not recorded: it follows
from the folders of its runs.
"""

import itertools
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from common.documents import fit
from common.errors import ConfigError, UserError
from training.config import Config, load_with_idle
from training.run_folder import RunFolder
from training.yaml_text import dump_yaml, parse_yaml, read_utf8

DESCRIPTION = "sweep.yml"
PRESETS = "presets.yml"
MOST_RUNS = 10_000
BRACKETS = {"[": 1, "]": -1}
CHANGE = "change"
"""Takes the place of an option's name where changes are swept. Its values are overrides, separated by spaces."""
UNCHANGED = "none"


@dataclass(frozen=True)
class Description:
    """What sweep.yml holds."""

    preset: str
    overrides: tuple[str, ...]
    sweep: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Raises ValueError if there is nothing to train."""
        if not self.sweep or not all(self.sweep.values()):
            raise ValueError("sweep: an option has no values, or there is none")


@dataclass(frozen=True)
class Sweep:
    folder: Path
    preset: str
    overrides: tuple[str, ...]  # section.key=value, of all runs
    swept: tuple[tuple[str, tuple[str, ...]], ...]  # section.key, or CHANGE, and its values as they were written
    config: Path | None = None  # the file of the preset, if it is not configs.yml

    @classmethod
    def create(
        cls,
        preset: str,
        overrides: Sequence[str],
        arguments: Sequence[str],
        path: Path | None,
        changes: Sequence[str] = (),
        config: Path | None = None,
    ) -> Self:
        """A sweep over `arguments`, each `section.key=value,value`, in the folder `path`, where the same sweep may have
        begun already. Without `path` the folder is `runs/sweep-<preset>-<date>-<time>`.

        With `changes`, every combination is trained without a change and with each of them. A change is one
        `section.key=value`, or several separated by spaces. With `config`, presets are those of this file, of which the
        sweep keeps a copy: all its runs then begin with the same one.

        Raises:
            ConfigError: the configuration of one of the runs cannot be used.
            UserError: an argument or the folder cannot be used; nothing is written.
            OSError: the folder cannot be created.
        """
        swept = _read_arguments(arguments)
        if changes:
            swept = ((CHANGE, (UNCHANGED, *(" ".join(change.split()) for change in changes))), *swept)
        described = (preset, tuple(overrides), swept)
        idle = cls(Path(), *described, config)._check()
        for name, why in idle[0].items():
            if all(name in of_a_run for of_a_run in idle):
                raise ConfigError(f"in every run, {why}")
        text = read_utf8(config) if config else None
        if path is not None and is_sweep(path):
            sweep = cls.open(path)
            kept = read_utf8(sweep.config) if sweep.config else None
            if (sweep.preset, sweep.overrides, sweep.swept, kept) != (*described, text):
                raise UserError(
                    f"{path}: holds another sweep; go on with `--resume {shlex.quote(str(path))}`, or choose another "
                    "folder"
                )
            return sweep
        document = {"preset": preset, "overrides": list(overrides), "sweep": {key: list(v) for key, v in swept}}
        files = {} if text is None else {PRESETS: text}
        files[DESCRIPTION] = dump_yaml(document)
        folder = RunFolder.create(f"sweep-{preset}", path, files=files).path
        return cls(folder, *described, None if text is None else folder / PRESETS)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The sweep in the folder `path`.

        Raises:
            ConfigError: a run of it cannot be configured by this version.
            UserError: its description is damaged.
            OSError: it cannot be read.
        """
        file = path / DESCRIPTION
        document = parse_yaml(read_utf8(file), str(file))
        try:
            found: Description = fit(Description, document)
        except ValueError as error:
            raise UserError(f"{file}: damaged ({error}); begin another sweep") from None
        config = path / PRESETS if (path / PRESETS).exists() else None
        sweep = cls(path, found.preset, found.overrides, tuple(found.sweep.items()), config)
        sweep._check()
        return sweep

    def combinations(self) -> list[tuple[str, ...]]:
        """The swept values of each run, in order. Those of the last option change fastest."""
        return list(itertools.product(*(values for _, values in self.swept)))

    def run(self, values: Sequence[str]) -> RunFolder:
        """The folder of one combination. No two have the same name."""
        named = [
            f"{key}={quote(value.replace(' ', '+'), safe='[],+=')}"
            for key, value in zip(self.names(), values, strict=True)
        ]
        return RunFolder(self.folder / ",".join(named))

    def runs(self) -> list[RunFolder]:
        return [self.run(values) for values in self.combinations()]

    def names(self) -> list[str]:
        """The swept options, without their sections unless two have the same key."""
        keys = [key for key, _ in self.swept]
        short = Counter(_short(key) for key in keys)
        return [key if short[_short(key)] > 1 else _short(key) for key in keys]

    def options(self, values: Sequence[str]) -> list[str]:
        """The overrides of one combination: everything in which it differs from the preset."""
        options = list(self.overrides)
        for (key, _), value in zip(self.swept, values, strict=True):
            if key != CHANGE:
                options.append(f"{key}={value}")
            elif value != UNCHANGED:
                options += value.split(" ")
        return options

    def _check(self) -> list[dict[str, str]]:
        """Which options have no effect in each run, and why.

        Raises:
            ConfigError: a run cannot be configured.
            UserError: two are the same.
        """
        given = {override.partition("=")[0] for override in self.overrides}
        changes = dict(self.swept).get(CHANGE, ())
        changed = {option.partition("=")[0] for change in changes for option in change.split()}
        if math.prod(len(values) for _, values in self.swept) > MOST_RUNS:
            raise UserError(f"a sweep of more than {MOST_RUNS:,} runs; sweep fewer values")
        for key, _ in self.swept:
            if key in given:
                raise UserError(f"{key}: both given and swept; leave one of them out")
            if key in changed:
                raise UserError(f"{key}: swept, and set by one of the changes; leave one of them out")
        seen: dict[Config, str] = {}
        idle = []
        for values in self.combinations():
            options = self.options(values)
            config, without_effect = load_with_idle(self.preset, options, self.config)
            described = " ".join(options) or f"{self.preset} as it is"
            if config in seen:
                raise UserError(f"{described}: the same run as {seen[config]}; leave one of them out")
            seen[config] = described
            idle.append(without_effect)
        return idle


def _short(key: str) -> str:
    """An option's name without its section."""
    return key.partition(".")[2] or key


def is_sweep(path: Path) -> bool:
    """Whether this is the folder of a sweep."""
    return (path / DESCRIPTION).is_file()


def _read_arguments(arguments: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    swept: dict[str, tuple[str, ...]] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise UserError(f"{argument}: --sweep expects section.key=value,value; put the preset before it")
        if key in swept:
            raise UserError(f"{argument}: {key} is swept twice; write all its values once, with commas")
        swept[key] = tuple(_split(text))
    return tuple(swept.items())


def _split(text: str) -> list[str]:
    """The values between the commas. A comma in brackets is part of a value, as in `[64,48],[32,32]`."""
    values, depth = [""], 0
    for character in text:
        depth += BRACKETS.get(character, 0)
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return values
