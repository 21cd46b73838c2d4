"""The options of gradcheck.py: which of them go together, how their values are read, and how they are written again."""

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.paths import named_path

MODES = ("exhaustive", "mutants", "precision")  # flags; at most one of them
OPTIONS: dict[tuple[str, bool], frozenset[str]] = {
    # (mode, at full size?): the options that belong to it, besides --seed, --device, --json and --html
    ("", False): frozenset({"only", "verbose", "float32"}),
    ("", True): frozenset({"only", "verbose", "batch", "coordinates"}),
    ("exhaustive", True): frozenset({"only", "verbose", "batch", "budget", "state", "devices", "distributed"}),
    ("mutants", False): frozenset({"only"}),
    ("precision", False): frozenset(),
    ("precision", True): frozenset({"batch"}),
}
NOT_GIVEN = {"only": "", "verbose": False, "float32": False, "devices": "1"}  # None for all others
ADVICE = {  # the message, where a mode or an option is refused
    "exhaustive": "--exhaustive: name a PRESET; at tiny shapes every coordinate is checked anyway",
    "mutants": "--mutants are planted at tiny shapes: leave PRESET and --checkpoint out",
    "only": "--precision compares whole gradients, and only that: leave --only out",
    "verbose": "--verbose prints a line for each tensor: leave it out with --mutants and --precision",
    "float32": "--float32 goes with the check at tiny shapes; at full size --precision compares it with float64",
    "budget": "--budget belongs to --exhaustive: add that, or leave --budget out",
    "state": "--state belongs to --exhaustive: add that, or leave --state out",
    "devices": "--devices belongs to --exhaustive: add that, or leave --devices out",
    "distributed": "--distributed belongs to --exhaustive: add that, or leave --distributed out",
    "batch": "--batch belongs to a full-size check: name a PRESET",
    "coordinates": "--coordinates belongs to a full-size check of a sample: name a PRESET, and no --exhaustive or "
    "--precision",
}


def refusal(args: argparse.Namespace) -> str | None:
    """What is wrong with a command line, if anything. An option that is given has an effect or is refused."""
    modes = [mode for mode in MODES if getattr(args, mode)]
    if len(modes) > 1:
        return f"{' and '.join(f'--{mode}' for mode in modes)} are different checks: choose one"
    mode = modes[0] if modes else ""
    allowed = OPTIONS.get((mode, full_size(args)))
    if allowed is None:
        return ADVICE[mode]
    given = [name for name in ADVICE if name not in MODES and getattr(args, name) != NOT_GIVEN.get(name)]
    refused = next((name for name in given if name not in allowed), None)
    return _bad_value(args) if refused is None else ADVICE[refused]


def full_size(args: argparse.Namespace) -> bool:
    """Whether a model is named, by a preset or a checkpoint."""
    return bool(args.arguments or args.checkpoint)


def _bad_value(args: argparse.Namespace) -> str | None:
    if args.config and (args.checkpoint or not args.arguments):
        return "--config holds presets: name one of them, or leave --config out"
    if any(number is not None and number < 1 for number in (args.batch, args.coordinates)):
        return "--batch and --coordinates: at least 1"
    if args.devices != "all" and not (args.devices.isdecimal() and int(args.devices) > 0):
        return f"--devices {args.devices}: a number of devices from 1, or all"
    files = [path for path in (args.json, args.html, args.state) if path is not None]
    return "--json, --html and --state: name a file for each" if len(set(files)) < len(files) else None


def named_file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a file; this is empty")
    return named_path(text)


def named_folder(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("name the folder of a run; this is empty")
    return str(named_path(text))


def with_negative_budget(argv: Sequence[str]) -> list[str]:
    """`--budget -5s` as `--budget=-5s`: argparse takes -5s for an option, and its message does not name the budget."""
    words = list(argv)
    for i in range(len(words) - 1, 0, -1):
        if words[i - 1] == "--budget" and re.match(r"-[\d.]", words[i]):
            words[i - 1 : i + 1] = [f"--budget={words[i]}"]
    return words


def parse_budget(text: str) -> float:
    """`90s`, `10m`, `2h30m` -> seconds. Raises UserError for anything else."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if not text or not match:
        raise UserError(f"--budget {shlex.quote(text)}: write it like 90s, 10m or 2h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def command_line(args: argparse.Namespace) -> str:
    """The command that repeats the check."""
    words = ["python", "gradcheck.py", *args.arguments]
    for name in ("config", "checkpoint", "budget", "state"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    words += [f"--{name}" for name in (*MODES, "float32", "verbose") if getattr(args, name)]
    words += ["--only", args.only] if args.only else []
    if full_size(args):
        words += ["--batch", str(args.batch)]
        words += [] if args.exhaustive or args.precision else ["--coordinates", str(args.coordinates)]
    words += ["--seed", str(args.seed)]
    words += ["--devices", args.devices] if args.devices != "1" else []
    words += ["--device", args.device] if args.device != "auto" else []
    for name in ("json", "html"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    return shlex.join([*words, "--debug"] if args.debug else words)
