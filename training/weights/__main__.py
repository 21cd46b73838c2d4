"""Weights in and out.

python -m training.weights export RUN model.safetensors --names timm
python -m training.weights export RUN FOLDER --names huggingface      for ViTForImageClassification.from_pretrained
python -m training.weights import model.safetensors --run runs/pretrained model.heads=12
"""

import argparse
import sys
from collections.abc import Sequence
from shlex import quote
from typing import Any

from common.command import run_command
from common.paths import named_path
from common.streams import printable
from common.text import counted, first_of
from model.weights.namings import NAMINGS
from training.arguments import CommandParser
from training.classes import UNKNOWN
from training.config import OPTIONS
from training.run_folder import RunFolder
from training.trained import add_weights_options, load_trained
from training.weights.exporting import export, weights_file
from training.weights.importing import SECTIONS, Imported, find_file, read_weights, write_run

PROGRAM = "python -m training.weights"
OTHER_DATA = "import with data.name=NAME for another kind of data"
DROPPED = 3  # parts that were left out, named


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    code: int = args.act(args)
    return code


def export_run(args: argparse.Namespace) -> int:
    weights_file(args.to, args.names)  # before the run is read, not after it
    trained = load_trained(
        RunFolder.open(args.run),
        checkpoint_name=args.checkpoint,
        weights=args.weights,
        any_precision=True,
        without_labels=True,
    )
    exported = export(trained, args.to, args.names)
    print(trained.description)
    print(f"{counted(exported.arrays, 'array')}, named as by {NAMINGS[args.names].title}")
    for path in exported.files:
        print(f"  {path}")
    for note in exported.notes:
        print(f"warning: {note}", file=sys.stderr)
    return 0


def import_file(args: argparse.Namespace) -> int:
    find_file(args.file)
    RunFolder.require_new(args.run)
    imported = read_weights(args.file, args.names, args.overrides, args.mean, args.std)
    run = write_run(imported, args.run)
    for line in summary(imported):
        print(printable(line))
    print(f"written to {run.path}; to use it:")
    for line in next_commands(imported, run):
        print(f"  {line}")
    return 0


def next_commands(imported: Imported, run: RunFolder) -> list[str]:
    """What can be done with it, in lines."""
    folder, data = quote(str(run.path)), imported.config.data.name
    lines = [f"python predict.py IMAGE --run {folder}", f"python evaluate.py {folder} data.root=DIR"]
    if imported.classes.fingerprint != UNKNOWN:
        return [*lines, f"where DIR has the data ({data})"]
    classes = counted(imported.config.model.num_classes, "class", "classes")
    return [*lines, f"where DIR has images of its {classes}, in their order, as {data};", OTHER_DATA]


def summary(imported: Imported) -> list[str]:
    """What was read and what is assumed, in lines."""
    model = imported.config.model
    lines = [f"{imported.file}: {counted(imported.arrays, 'array')}, named as by {imported.naming.title}"]
    sizes = (
        "image_size",
        "patch_size",
        "d_model",
        "heads",
        "layers",
        "mlp_dim",
        "num_classes",
        "pooling",
        "gelu",
        "eps",
    )
    half = len(sizes) // 2
    for part in (sizes[:half], sizes[half:]):
        lines.append("  " + " ".join(f"{name}={getattr(model, name)}" for name in part))
    lines += [f"  told by {path.name}" for path in imported.sources]
    if imported.assumed:
        lines.append("assumed, as no file says it; change it with model.KEY=VALUE, --mean and --std:")
        lines.append("  " + " ".join(f"{key}={_shown(value)}" for key, value in imported.assumed.items()))
    dropped = [f"left out: {what}" for what in imported.found.dropped]
    return [*lines, *first_of(dropped, DROPPED, "\n").splitlines()]


def _shown(value: Any) -> str:
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parsers = {"export": export_parser(), "import": import_parser()}
    chosen = parsers.get(argv[0] if argv else "")
    if chosen:
        return chosen.parse_intermixed_args(argv[1:])
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Weights in and out; docs/weights.md.")
    parser.add_argument("command", choices=tuple(parsers), help="--help behind it shows its options")
    parser.parse_args(argv[:1])
    raise AssertionError("argparse has ended the process")


def export_parser() -> CommandParser:
    parser = CommandParser(prog=f"{PROGRAM} export", description="Write the parameters of a run for another library.")
    parser.options = {}
    parser.add_argument("run", metavar="RUN", type=named_path, help="folder of a run")
    parser.add_argument("to", metavar="FILE|FOLDER", type=named_path, help="a new .safetensors or .npz, or its folder")
    _add_names(parser, "own")
    add_weights_options(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(act=export_run)
    return parser


def import_parser() -> CommandParser:
    parser = CommandParser(prog=f"{PROGRAM} import", description="Make a run of a file of weights.")
    parser.options = {name: kind for name, kind in OPTIONS.items() if name.partition(".")[0] in SECTIONS}
    parser.add_argument("file", metavar="FILE|FOLDER", type=named_path, help=".safetensors or .npz, or its folder")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="options of the model and of data")
    parser.add_argument("--run", required=True, metavar="DIR", type=named_path, help="new folder for the run")
    _add_names(parser, None)
    for name, what in (("mean", "mean"), ("std", "standard deviation")):
        parser.add_argument(f"--{name}", type=_numbers, metavar="X,...", help=f"{what} of the pixels, 0 to 1")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(act=import_file)
    return parser


def _add_names(parser: CommandParser, default: str | None) -> None:
    known = f"whose names: {', '.join(NAMINGS)} (default: {default or 'they are recognized'})"
    parser.add_argument("--names", choices=tuple(NAMINGS), default=default, metavar="NAMES", help=known)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers with commas between them") from None


if __name__ == "__main__":
    sys.exit(run_command(main))
