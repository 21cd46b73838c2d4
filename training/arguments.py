"""The command line that all commands with a model share: a preset, options that override it, and a device."""

import argparse

from training.config import describe_options, preset_names
from training.device import CHOICES


def preset_parser(prog: str, description: str, default: str) -> argparse.ArgumentParser:
    """A parser of `PRESET section.key=value ...`, as `arguments`, and of --device and --debug, with their help.

    `default` says what is done without a PRESET.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"presets: {', '.join(preset_names())}\n\noptions (section.key=default):\n{describe_options()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="PRESET or section.key=value",
        help=f"a section of configs.yml (default: {default}), then options that override it",
    )
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
