"""The command line that all commands with a preset share: the preset, options that override it, and a device."""

import argparse

from training.config import describe_options, preset_names
from training.device import CHOICES


def preset_parser(prog: str, description: str, default: str) -> argparse.ArgumentParser:
    """A parser of `PRESET section.key=value ...` (as `arguments`), --device and --debug.

    `default` is what the help says about a missing PRESET.
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
