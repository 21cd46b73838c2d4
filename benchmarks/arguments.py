"""The command line that all measurements of the training step share."""

import argparse
from collections.abc import Sequence

from common.errors import UserError
from training.arguments import CommandParser, add_config_option
from training.device import CHOICES


def step_parser(name: str, about: str, rounds: int) -> argparse.ArgumentParser:
    """The parser of `python -m benchmarks.<name> [PRESET] [section.key=value ...]`; `rounds` is a default."""
    parser = CommandParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("preset", nargs="?", default="baseline")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    add_config_option(parser)
    parser.add_argument("--rounds", type=int, default=rounds, help="timed turns of each (default: %(default)s)")
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--debug", action="store_true")
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The arguments. Raises UserError if no round would be timed."""
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise UserError(f"--rounds {args.rounds}: must be at least 1")
    return args
