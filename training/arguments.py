"""The command line that all commands with a preset share: the preset, options that override it, and a device."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.paths import named_path
from training.aliases import option_in, options_called, why_without
from training.config import OPTIONS
from training.device import CHOICES
from training.fields import nearest
from training.presets import describe_options, describe_presets, preset_names


class CommandParser(argparse.ArgumentParser):
    """A parser that explains an unknown option, such as `--lr 1e-3`, by the option of the configuration that is meant.

    `parse_args` and `parse_intermixed_args` raise UserError for it. Any other mistake ends the process, as in argparse.

    Attributes:
        options: those of the configuration that the command takes; it advises no other.
    """

    options: Mapping[str, object] = OPTIONS

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        return self._complete(self.parse_known_args, args, namespace)

    def parse_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        return self._complete(self.parse_known_intermixed_args, args, namespace)

    def _complete(self, parse: Callable[..., Any], args: Sequence[str] | None, namespace: Any) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        found, unknown = parse(words, namespace)
        if unknown:
            raise UserError(self._advice(unknown[0], words))
        return found

    def _advice(self, unknown: str, words: Sequence[str]) -> str:
        name, equals, value = unknown.partition("=")
        if not equals:
            following = words[words.index(unknown) + 1 :][:1] if unknown in words else []
            value = "".join(word for word in following if not word.startswith("--") and "=" not in word)
        written = f"{name}={value}" if equals else f"{name} {value}".strip()
        key = name.lstrip("-")
        called = [key] if key in OPTIONS else options_called(key, OPTIONS)
        takes = {*self.options, *self._option_string_actions}
        meant = [text for text in called if option_in(text) in takes]
        reason = why_without(key)
        if not meant and reason:
            return f"{written}: there is no such option, as {reason}"
        if not meant:
            own = [option[2:] for option in self._option_string_actions if option.startswith("--")]
            near = nearest(key, own, "--help lists the options").replace("did you mean ", "did you mean --")
            return f"{written}: there is no such option; {near}"
        if meant[0].startswith("--"):
            return f"{written}: there is no such option; did you mean {meant[0]}?"
        shown = [f"{option}={shlex.quote(value)}" if value and option in OPTIONS else option for option in meant]
        return f"{written}: options of the configuration are written section.key=value: {' or '.join(shown)}"


def preset_parser(prog: str, description: str, default: str) -> argparse.ArgumentParser:
    """A parser of `PRESET section.key=value ...` (as `arguments`), --config, --device and --debug.

    `default` is what the help says about a missing PRESET.
    """
    parser = CommandParser(
        prog=prog,
        description=description,
        epilog=f"{describe_presets()}\n\noptions (section.key=default):\n{describe_options()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="PRESET or section.key=value",
        help=f"a section of configs.yml (default: {default}), then options that override it",
    )
    add_config_option(parser)
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_run_arguments(parser: CommandParser, overridable: Sequence[str]) -> None:
    """Add `RUN section.key=value ...` (as `arguments`), for `run_and_overrides`; only the options in `overridable`."""
    parser.options = dict.fromkeys(overridable)
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="RUN or section.key=value",
        help="folder of a run, or of a sweep: its best run (default: the newest in runs/); "
        f"options that may change: {', '.join(overridable)}",
    )


def run_and_overrides(parser: CommandParser, arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The run that the arguments name, if they do, and the overrides. Two runs end the process with a message."""
    folders = [argument for argument in arguments if "=" not in argument or named_path(argument).exists()]
    if len(folders) > 1:
        parser.error(f"one run at a time, got {' and '.join(folders)}")
    return named_path(folders[0]) if folders else None, [text for text in arguments if text not in folders]


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add --config, whose value is the `path` of `load_config`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=named_path,
        help="presets of your own, written like those of configs.yml, which they may extend",
    )


def preset_and_overrides(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The preset that the arguments of a `preset_parser` name, if they do, and the overrides.

    Raises:
        UserError: there are two presets, or a file of presets and none.
    """
    presets = [argument for argument in args.arguments if "=" not in argument]
    if len(presets) > 1:
        raise UserError(f"{presets[1]}: a second preset after {presets[0]}; an option is written section.key=value")
    if args.config and not presets:
        raise UserError(f"--config {args.config}: name a preset: {', '.join(preset_names(args.config))}")
    return presets[0] if presets else None, [argument for argument in args.arguments if "=" in argument]
