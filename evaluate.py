"""Evaluate a trained model on the whole validation set: loss, accuracy, the hardest classes, the most confused pairs.

python evaluate.py                              the newest run: best checkpoint, moving average if there is one
python evaluate.py runs/demo-20260101-120000 --checkpoint last --json result.json
python evaluate.py --html report.html           a page with curves, confusions, mistakes, attention and more
python evaluate.py --csv guesses.csv            a line for each image: label, guess, probability
python evaluate.py --weights raw                the parameters themselves, not their moving average
python evaluate.py RUN data.root=DIR            the data have moved since the run was trained
python evaluate.py RUN data.holdout=0           the official validation images, where a slice was held out
python evaluate.py RUN data.val_folder=test     another folder of an image folder
python evaluate.py RUN --training-images 1000   so many of the images it was trained on: what does it know by heart?
"""

import argparse
import csv
import io
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import vit_environment  # noqa: F401  # first of all: it looks for the packages that follow

import numpy as np

from common.argument_types import at_least
from common.command import run_command
from common.errors import UserError
from common.files import replace_text
from common.interrupt import in_thread, leaving_at_once
from common.paths import named_path, require_writable
from common.progress import announced
from common.text import counted, shorten
from data.dataset import Dataset, Split
from training.arguments import CommandParser, add_run_arguments, run_and_overrides
from training.chosen_run import choose_run
from training.classes import UNKNOWN, short_names
from training.config import Config
from training.device import CHOICES, choose_device, describe_device, keep_compiled_programs
from training.evaluation import Evaluation
from training.metrics import shows_top5
from training.reconstruction import build_evaluator
from training.report.analysis import confusion_matrix
from training.report.material import Material
from training.report.writing import as_html
from training.run_folder import Classes
from training.setup import check_fit, describe_validation, load_dataset
from training.trained import Trained, add_weights_options, load_trained

# The first four do not change the result. The others choose between sets that the run was not trained on.
OVERRIDABLE = ("data.root", "data.cache", "data.workers", "train.eval_batch_size", "data.holdout", "data.val_folder")
FILES = ("json", "csv", "html")
SHOWN_CLASSES = 5
SHOWN_PAIRS = 10
NAME_WIDTH = 29  # leaves room for two names in a line
HIDDEN_PATCHES, LINEAR_PROBE = "mean squared error of the hidden patches", "a linear classifier of the features"
LINE = 69  # letters of a name alone in a line of 80 columns


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    for option in FILES:  # before the evaluation, not after it
        if getattr(args, option):
            require_writable(f"--{option}", getattr(args, option))
    run = choose_run(args.run)
    device = choose_device(args.device)
    keep_compiled_programs()
    trained = load_trained(
        run, args.overrides, OVERRIDABLE, checkpoint_name=args.checkpoint, weights=args.weights, without_labels=True
    )
    config = chosen_validation(trained)
    if (args.html or args.csv) and config.autoencoder:
        raise UserError(
            f"--{'html' if args.html else 'csv'}: {run.path} was trained without labels, so there are no guesses to "
            f"show; see what it predicts with `python -m training.preview {shlex.quote(str(run.path))} --out FILE.png`"
        )
    dataset = load_dataset(config, draw=False)  # shapes that are drawn now would be other images
    check_holdout(trained, dataset.held_out)
    classes = matched_classes(trained, dataset)
    check_fit(config.model, dataset, run.path)
    same_folder = config.data.val_folder == run.read_config().data.val_folder
    if dataset.fingerprint != classes.fingerprint != UNKNOWN and same_folder:
        print(f"warning: {config.data.folder}: not the images that {run.path} was trained with", file=sys.stderr)
    split, numbers, images = chosen_images(dataset, args.training_images)
    print(f"{trained.description}\non {images}, {describe_device(device)}")
    as_trained = dataset._replace(val=split, mean=classes.mean, std=classes.std)
    evaluator = build_evaluator(config, as_trained, in_detail=bool(args.html or args.csv))
    with leaving_at_once("interrupted"), announced("compiling"):
        in_thread(lambda: evaluator.probe(trained.params))
    began = time.perf_counter()
    result = evaluator(trained.params)
    seconds = time.perf_counter() - began
    report = make_report(result, classes) | {
        "run": str(run.path),
        "checkpoint": trained.checkpoint.name,
        "weights": trained.weights,
        "step": trained.step,
        "split": "train" if args.training_images else "val",
        "holdout": dataset.held_out,
    }
    if config.autoencoder:
        report |= {"loss_of": HIDDEN_PATCHES, "accuracy_of": LINEAR_PROBE}
    if args.json:  # first: printing may end early, as in `evaluate.py | head`
        replace_text(args.json, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if args.csv:
        replace_text(args.csv, as_csv(result, classes, numbers))
    if args.html:
        trained = replace(trained, classes=classes)  # the page names them as the terminal does
        material = Material(trained, result, report, split, images, describe_device(device), seconds)
        with leaving_at_once("interrupted"), announced("drawing"):
            drawn = in_thread(lambda: as_html(material))
        replace_text(args.html, drawn)
    print(format_report(report))
    written = [str(path) for path in (args.csv, args.html) if path]
    if written:
        print(f"\nwritten: {', '.join(written)}")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(prog="evaluate.py", description="Evaluate a trained model on the validation set.")
    add_run_arguments(parser, OVERRIDABLE)
    add_weights_options(parser)
    parser.add_argument("--json", metavar="FILE", type=named_path, help="write all classes and pairs to FILE")
    parser.add_argument("--csv", metavar="FILE", type=named_path, help="write a line for each image to FILE")
    parser.add_argument("--html", metavar="FILE", type=named_path, help="write a page with figures to FILE")
    parser.add_argument(
        "--training-images", metavar="N", type=at_least(1), help="evaluate on so many of them, without augmentation"
    )
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_intermixed_args(argv)
    files = [getattr(args, option).resolve() for option in FILES if getattr(args, option)]
    if len(set(files)) < len(files):
        parser.error("--json, --csv and --html: name a file for each")
    args.run, args.overrides = run_and_overrides(parser, args.arguments)
    if args.training_images:
        for option in ("data.holdout", "data.val_folder"):
            if any(text.startswith(f"{option}=") for text in args.overrides):
                parser.error(f"--training-images: {option} chooses validation images; leave one of the two out")
    return args


def chosen_validation(trained: Trained) -> Config:
    """The options, with which another folder takes the place of a part that the run has held out."""
    config, own = trained.config, trained.run.read_config().data
    if config.data.val_folder == own.val_folder:
        return config
    return replace(config, data=replace(config.data, holdout=0.0))


def check_holdout(trained: Trained, chosen: float) -> None:
    """Raises UserError if the run was trained on images of the chosen slice. Of an imported one that is not known."""
    own = trained.run.read_config().data.holdout
    if own is not None and chosen not in (0, own):
        raise UserError(
            f"data.holdout={chosen:g}: {trained.run.path} was trained with data.holdout={own:g}, so it knows "
            "images of that slice; leave the option out, or set data.holdout=0 for the official validation images"
        )


def chosen_images(dataset: Dataset, count: int | None) -> tuple[Split, np.ndarray, str]:
    """What to evaluate on, the numbers of these images in their split, int (n,), and what they are in words.

    All validation images; with a `count`, so many training images, drawn at random, always the same ones. Raises
    UserError if there are not so many.
    """
    if count is None:
        return dataset.val, np.arange(len(dataset.val.labels)), describe_validation(dataset)
    available = len(dataset.train.labels)
    if count > available:
        raise UserError(f"--training-images {count}: there are only {available:,}; ask for so many, or fewer")
    chosen = np.random.default_rng(0).permutation(available) < count
    of = f"{count:,} of " if count < available else ""
    described = f"{of}{counted(available, 'training image')} without augmentation"
    return dataset.train.select(chosen), np.flatnonzero(chosen), described


def matched_classes(trained: Trained, dataset: Dataset) -> Classes:
    """The classes of the model, which are those of the data.

    A file of weights from elsewhere has no ids of its classes. Then the classes of the data are taken in their order,
    if there are as many; the user is warned, unless the names agree.

    Raises:
        UserError: they are others.
    """
    classes, folder = trained.classes, trained.config.data.folder
    if dataset.class_ids == classes.class_ids:
        return classes
    if set(dataset.class_ids) == set(classes.class_ids):
        raise UserError(f"{folder}: its classes are in another order than those of {trained.run.path}")
    if classes.fingerprint != UNKNOWN or len(dataset.class_ids) != len(classes.class_ids):
        raise UserError(
            f"{folder}: its classes are not those of {trained.run.path}; name the data it was trained on with "
            "data.root=DIR"
        )
    if dataset.class_names != classes.class_names:
        first = f"{shorten(dataset.class_names[0], NAME_WIDTH)} ({dataset.class_ids[0]})"
        print(
            f"warning: {trained.run.path}: the ids of its classes are not known; those of the data are taken in their "
            f"order: {first} for {shorten(classes.class_names[0], NAME_WIDTH)}, and so on",
            file=sys.stderr,
        )
    return replace(classes, class_ids=dataset.class_ids, class_names=dataset.class_names)


def make_report(result: Evaluation, classes: Classes) -> dict[str, Any]:
    """The report as JSON: numbers over the whole set, each class, and each pair of classes that was confused."""
    count = len(classes.class_ids)
    confusion = confusion_matrix(result.labels, result.predicted, count)
    images, right = confusion.sum(axis=1), confusion.diagonal()
    per_class = [
        {
            "wnid": classes.class_ids[i],
            "name": classes.class_names[i],
            "images": int(images[i]),
            "accuracy": float(right[i] / images[i]) if images[i] else None,
        }
        for i in range(count)
    ]
    mistakes = confusion - np.diag(right)
    # The most frequent first. Equal counts are in the order of the classes, so that the list is deterministic.
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    pairs = [
        {
            "label_wnid": classes.class_ids[i],
            "label": classes.class_names[i],
            "predicted_wnid": classes.class_ids[j],
            "predicted": classes.class_names[j],
            "images": int(mistakes[i, j]),
        }
        for i, j in (divmod(int(flat), count) for flat in order)
    ]
    return {
        "images": result.images,
        "loss": result.loss,
        "top1": result.top1,
        "balanced_accuracy": result.balanced_accuracy,
        "top5": result.top5,
        "chance": 1 / count,
        "per_class": per_class,
        "confused": pairs,
    }


def as_csv(result: Evaluation, classes: Classes, numbers: np.ndarray) -> str:
    """A line for each image: its number among all of its split, its class, the first guess and its probability.

    numbers: int (n,), of the images of the result.
    """
    assert result.probabilities is not None
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["number", "wnid", "name", "predicted_wnid", "predicted", "probability"])
    rows = zip(numbers, result.labels, result.predicted, result.probabilities, strict=True)
    for number, label, guess, probability in rows:
        named = [text for c in (label, guess) for text in (classes.class_ids[c], classes.class_names[c])]
        writer.writerow([number, *named, f"{probability:.6g}"])
    return file.getvalue()


def format_report(report: dict[str, Any]) -> str:
    """The report for a terminal: of each class its first name, the best and the worst classes, no class twice."""
    of_loss, of_accuracy = report.get("loss_of"), report.get("accuracy_of")
    lines = [
        f"loss    {report['loss']:.4f}" + (f"   ({of_loss})" if of_loss else ""),
        *([f"{of_accuracy}:"] if of_accuracy else []),
        f"top-1   {report['top1']:.2%}   (chance {report['chance']:.2%})",
    ]
    if len({c["images"] for c in report["per_class"] if c["images"]}) > 1:
        lines.append(f"balanced accuracy {report['balanced_accuracy']:.2%}   (mean of the classes' accuracies)")
    if shows_top5(len(report["per_class"])):
        lines.append(f"top-5   {report['top5']:.2%}")
    names = short_names({c["wnid"]: c["name"] for c in report["per_class"]})
    ranked = sorted((c for c in report["per_class"] if c["images"]), key=lambda c: c["accuracy"])
    classes = [f"  {c['accuracy']:7.2%}  {shorten(names[c['wnid']], LINE)}" for c in ranked]
    if len(ranked) <= 2 * SHOWN_CLASSES:
        lines += ["", "classes, the best first", *classes[::-1]]
    else:
        lines += ["", "best classes", *classes[::-1][:SHOWN_CLASSES], "worst classes", *classes[:SHOWN_CLASSES]]
    if report["confused"]:
        lines.append("most confused")
        short = {wnid: shorten(name, NAME_WIDTH) for wnid, name in names.items()}
        lines += [
            f"  {p['images']:4} x  {short[p['label_wnid']]} taken for {short[p['predicted_wnid']]}"
            for p in report["confused"][:SHOWN_PAIRS]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
