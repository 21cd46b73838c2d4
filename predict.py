"""Say what is in images, by a trained model: class names and probabilities.

python predict.py photo.jpg                       the newest run: best checkpoint, moving average if there is one
python predict.py photos "more/*.png" --csv predictions.csv      folders and patterns: in batches
curl -s https://example.org/cat.jpg | python predict.py -        an image from standard input
python predict.py photo.jpg --run runs/SWEEP      the best run of a sweep; or a folder in runs/
python predict.py photo.jpg --attention attention.png --saliency saliency.png --patches patches.png      look inside

docs/predict.md says more. Exit code: 0 all images were predicted; 1 some could not be read, and the others were
predicted; 2 bad usage, or none could be read; 130 interrupted.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import vit_environment  # noqa: F401  # first of all: it looks for the packages that follow

from tqdm import tqdm

from common.argument_types import at_least
from common.command import in_one_line, run_command
from common.cores import available_cores
from common.errors import UserError
from common.files import replace_text, replacing
from common.interrupt import in_thread, leaving_at_once
from common.paths import named_path, require_writable
from common.progress import announced
from common.text import counted
from data.chosen_images import STANDARD_INPUT, Chosen, ReadImage, choose_images, read_images
from data.folder_scan import other_files_notes
from training.arguments import CommandParser
from training.chosen_run import choose_run
from training.device import CHOICES, choose_device, describe_device, keep_compiled_programs
from training.look_inside import FIGURES, MOST_DRAWN, draw
from training.prediction_report import BARS, as_csv, as_json, as_text, shown_path, write_features
from training.predictor import Prediction, Predictor
from training.trained import add_weights_options, load_trained

OVERRIDABLE = ("data.workers", "train.eval_batch_size")  # neither changes what is predicted
OVERRIDE = r"[a-z]+\.\w+="
FILES = ("json", "csv", "features", *FIGURES)
SOME_BROKEN = 1


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    files: dict[str, Path] = {option: getattr(args, option) for option in FILES if getattr(args, option)}
    for option, path in files.items():  # before the work, not after it
        require_writable(f"--{option}", path)
    chosen = choose_images(args.images)
    require_fit(files, chosen.names)
    run = choose_run(args.run)
    device = choose_device(args.device)
    keep_compiled_programs()
    trained = load_trained(run, args.overrides, OVERRIDABLE, checkpoint_name=args.checkpoint, weights=args.weights)
    print(f"{trained.description}\non {counted(len(chosen.names), 'image')}, {describe_device(device)}")
    for note in other_files_notes(chosen.left_alone):
        print(f"note: {in_one_line(note)}")
    predictor = Predictor(trained, len(chosen.names), args.top, with_features="features" in files)
    with leaving_at_once("interrupted"), announced("compiling"):
        in_thread(predictor.compile)
    images = read_images(chosen.names, predictor.target, trained.config.data.workers or available_cores())
    drawn = [kind for kind in FIGURES if kind in files]
    kept = list(images) if drawn else []  # few, and needed twice: standard input cannot be read again
    predictions, bad = predict_all(predictor, kept or images, chosen)
    pixels = [image.pixels for image in kept if image.pixels is not None]
    pictures = {kind: draw(kind, trained, predictions, pixels) for kind in drawn}
    # Files first: printing may end early, as in `predict.py photos | head`.
    for option, path in files.items():
        if option == "json":
            replace_text(path, as_json(trained, predictions, bad))
        elif option == "csv":
            replace_text(path, as_csv(predictions, bad, trained.classes, predictor.top))
        elif option == "features":
            write_features(path, predictions)
        else:
            with replacing(path) as file:
                pictures[option].save(file, format="PNG")
    print(f"\n{as_text(predictions, trained.classes, listed=not files)}")
    if files:
        each = " (each image is there)" if len(predictions) > BARS else ""
        print(f"\nwritten: {', '.join(map(str, files.values()))}{each}")
    return SOME_BROKEN if bad else 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(prog="predict.py", description="Say what is in images, by a trained model.")
    parser.options = dict.fromkeys(OVERRIDABLE)
    parser.add_argument(
        "arguments",
        nargs="+",
        metavar="IMAGE, FOLDER, PATTERN or section.key=value",
        help="images; folders with images in them; quoted patterns such as 'photos/**/*.png'; - for standard input; "
        f"options that may change: {', '.join(OVERRIDABLE)}",
    )
    parser.add_argument(
        "--run", metavar="RUN", type=named_path, help="a run, or a sweep: its best one (default: the newest in runs/)"
    )
    parser.add_argument("--top", metavar="K", type=at_least(1), default=5, help="guesses shown (default: %(default)s)")
    add_weights_options(parser)
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write the guesses of each image to FILE")
    parser.add_argument("--csv", metavar="FILE", type=named_path, help="the same, with a line for each image")
    parser.add_argument(
        "--features", metavar="FILE.npz", type=named_path, help="write the pooled token of each image to FILE.npz"
    )
    for kind, what in FIGURES.items():
        parser.add_argument(f"--{kind}", metavar="FILE.png", type=named_path, help=what)
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_intermixed_args(argv)
    for kind in FIGURES:
        path = getattr(args, kind)
        if path and path.suffix.lower() != ".png":
            parser.error(f"--{kind} {path}: a PNG is written; choose a name that ends in .png")
    is_override = [bool(re.match(OVERRIDE, text)) and not named_path(text).exists() for text in args.arguments]
    args.overrides = [text for text, given in zip(args.arguments, is_override, strict=True) if given]
    args.images = [text for text, given in zip(args.arguments, is_override, strict=True) if not given]
    if not args.images:
        parser.error("name an image, a folder, a pattern, or - for standard input")
    return args


def require_fit(files: Mapping[str, Path], names: Sequence[str]) -> None:
    """Raises UserError if a figure would have too many images, or a file that is to be written is one of the images, or
    another one of them."""
    written: dict[Path, str] = {}
    for option, path in files.items():
        other = written.setdefault(path.resolve(), option)
        if other != option:
            raise UserError(f"--{option} {path}: the same file as --{other}; choose another one")
        if option in FIGURES and len(names) > MOST_DRAWN:
            raise UserError(f"--{option}: at most {MOST_DRAWN} images are drawn, and these are {len(names):,}")
        if path.exists() and any(name != STANDARD_INPUT and is_same(path, name) for name in names):
            raise UserError(f"--{option} {path}: this is one of the images; choose another file")


def is_same(path: Path, name: str) -> bool:
    try:
        return path.samefile(name)
    except OSError:  # the image is a link to nothing
        return False


def predict_all(
    predictor: Predictor, images: Iterable[ReadImage], chosen: Chosen
) -> tuple[list[Prediction], list[ReadImage]]:
    """The predictions, and what could not be read, of which each is told at once.

    Raises:
        UserError: nothing could be read.
    """
    predictions: list[Prediction] = []
    bad = [ReadImage(name, None, problem) for name, problem in chosen.unread]
    for image in bad:
        tell(image)
    alone = len(chosen.names) == 1 and not bad  # then it is the error itself
    with tqdm(total=len(chosen.names), desc="predicting", unit=" images", leave=False, disable=None) as bar:
        for found in predictor(images):
            bar.update()
            if isinstance(found, Prediction):
                predictions.append(found)
                continue
            if alone:
                raise UserError(f"{shown_path(found.name)}: {found.problem}")
            tell(found)
            bad.append(found)
    if not predictions:
        raise UserError(f"none of the {counted(len(bad), 'image')} can be read")
    return predictions, bad


def tell(image: ReadImage) -> None:
    """Say that an image is left out, above the progress bar if there is one."""
    tqdm.write(f"{shown_path(image.name)}: {image.problem}; left out", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(main))
