"""Validation images of a run as files, to look at them or to ask a model about them.

    python -m training.validation_images runs/demo-20260101-120000 --out pictures               12, drawn at random
    python -m training.validation_images RUN --out pictures --numbers 3,17,40      those with these numbers
    python predict.py pictures --run RUN

An image is numbered by its place among the validation images, from 0, as in the file of `python evaluate.py RUN --csv`.
The folder, which must be new or empty, gets a PNG for each, with the pixels that the model sees before they are
normalized, and `images.csv` with the number, the class and the file of each.
"""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.argument_types import seed_number
from common.command import run_command
from common.errors import UserError
from common.files import replace_text, replacing
from common.paths import named_path
from common.text import counted
from data.dataset import Dataset
from training.arguments import CommandParser, add_run_arguments, run_and_overrides
from training.chosen_run import choose_run
from training.classes import UNKNOWN
from training.setup import load_dataset

OVERRIDABLE = ("data.root", "data.cache", "data.workers")  # none changes which images there are
LISTING = "images.csv"
COUNT, MOST = 12, 1000  # images: by default, and at most


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    require_empty(args.out)
    run = choose_run(args.run)
    config = run.read_config(args.overrides, OVERRIDABLE)
    dataset = load_dataset(config, draw=False)  # shapes that are drawn now would be other images
    classes = run.read_classes()
    if dataset.class_ids != classes.class_ids and classes.fingerprint != UNKNOWN:
        raise UserError(f"{config.data.folder}: not the data of {run.path}; say where they are with data.root=DIR")
    if dataset.fingerprint != classes.fingerprint != UNKNOWN:
        print(f"warning: {config.data.folder}: not the images that {run.path} was trained with", file=sys.stderr)
    numbers = choose_numbers(args.numbers, args.count, args.seed, len(dataset.val.labels))
    write_images(args.out, dataset, numbers)
    print(f"{args.out}: {counted(len(numbers), 'validation image')} of {run.path}, listed in {LISTING}")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m training.validation_images", description="Write validation images of a run as PNG files."
    )
    add_run_arguments(parser, OVERRIDABLE)
    parser.add_argument("--out", metavar="FOLDER", type=named_path, required=True, help="a new folder, or an empty one")
    parser.add_argument("--numbers", metavar="N,N", help="those with these numbers, counted from 0")
    parser.add_argument("--count", metavar="N", type=int, help=f"so many, drawn at random (default: {COUNT})")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the drawing (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_intermixed_args(argv)
    if args.numbers is not None and args.count is not None:
        parser.error("--numbers says which images: leave --count out")
    if args.count is not None and not 1 <= args.count <= MOST:
        parser.error(f"--count {args.count}: from 1 to {MOST:,}")
    args.run, args.overrides = run_and_overrides(parser, args.arguments)
    return args


def require_empty(folder: Path) -> None:
    """Raises UserError if the folder holds something, or is none."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "not empty; name a new folder" if folder.is_dir() else "a file, where a folder is expected"
        raise UserError(f"--out {folder}: {what}")


def choose_numbers(text: str | None, count: int | None, seed: int, images: int) -> list[int]:
    """The numbers in the text `3,17`, each once, or `count` that are drawn, of `images`; in ascending order.

    Raises:
        UserError: a number is none, or there is no such image.
    """
    if text is None:
        chosen = np.random.default_rng(seed).choice(images, size=min(count or COUNT, images), replace=False)
        return sorted(map(int, chosen))
    numbers = set()
    for word in text.split(","):
        if not (word.strip().isascii() and word.strip().isdecimal()) or int(word) >= images:
            raise UserError(f"--numbers {text}: {word.strip() or 'nothing'} is no number from 0 to {images - 1:,}")
        numbers.add(int(word))
    if len(numbers) > MOST:
        raise UserError(f"--numbers: at most {MOST:,} images at once, got {len(numbers):,}")
    return sorted(numbers)


def write_images(folder: Path, dataset: Dataset, numbers: Sequence[int]) -> None:
    """Write the images, and then their listing: where that is, all of them are."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(dataset.val.labels) - 1))
    listing = io.StringIO()
    writer = csv.writer(listing, lineterminator="\n")
    writer.writerow(["number", "wnid", "name", "file"])
    for number in numbers:
        pixels = np.asarray(dataset.val.images[number])
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        path = folder / f"{number:0{digits}}.png"
        with replacing(path) as file:
            picture.save(file, format="PNG")
        label = int(dataset.val.labels[number])
        writer.writerow([number, dataset.class_ids[label], dataset.class_names[label], path.name])
    replace_text(folder / LISTING, listing.getvalue())


if __name__ == "__main__":
    sys.exit(run_command(main))
