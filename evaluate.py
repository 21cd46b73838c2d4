"""Evaluate a trained model on the whole validation set: loss, accuracy, the hardest classes, the most confused pairs.

python evaluate.py                              the newest run, its best checkpoint
python evaluate.py runs/demo-20260101-120000 --checkpoint last --json result.json
python evaluate.py --weights raw                the parameters themselves, where their moving average was kept
python evaluate.py RUN data.root=DIR            the data have moved since the run was trained
python evaluate.py RUN data.holdout=0           the official validation images, where a slice was held out
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.command import run_command
from common.errors import UserError
from common.files import replace_text
from training import checkpoint
from training.config import Config
from training.device import CHOICES, choose_device, describe_device, keep_compiled_programs
from training.evaluation import Evaluation, EvaluationStep, Evaluator
from training.run_folder import Classes, RunFolder
from training.setup import check_fit, describe_validation, load_dataset

# None of the first four changes the result; the last chooses between two sets that the run was not trained on.
OVERRIDABLE = ("data.root", "data.cache", "data.workers", "train.eval_batch_size", "data.holdout")
WEIGHTS = {"raw": "raw parameters", "average": "moving average of the parameters"}
SHOWN_CLASSES = 5
SHOWN_PAIRS = 10


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    if args.json and not args.json.parent.is_dir():  # now, rather than after the evaluation
        raise UserError(f"--json {args.json}: there is no folder {args.json.parent}; make it first")
    run = RunFolder.open(args.run) if args.run else RunFolder.newest()
    config = run.read_config(args.overrides, OVERRIDABLE)
    check_holdout(run, config)
    device = choose_device(args.device)
    keep_compiled_programs()
    classes = run.read_classes()
    path, weights, params, step = read_parameters(run, args.checkpoint, args.weights, config.model)

    dataset = load_dataset(config.data, draw=False)  # what is drawn now was not trained on
    if dataset.class_ids != classes.class_ids:
        raise UserError(
            f"{config.data.folder}: its classes are not those of {run.path}; name the data it was trained on with "
            "data.root=DIR"
        )
    check_fit(config.model, dataset)
    if dataset.fingerprint != classes.fingerprint:
        print(f"warning: {config.data.folder}: not the images that {run.path} was trained with", file=sys.stderr)
    images = describe_validation(config.data, dataset)
    print(f"{path} (step {step:,}, {WEIGHTS[weights]}) on {images}, {describe_device(device)}")
    evaluation_step = EvaluationStep(config.model, classes.mean, classes.std)
    result = Evaluator(evaluation_step, dataset.val, config.train.eval_batch_size)(params)
    taken = {"run": str(run.path), "checkpoint": path.name, "weights": weights, "step": step}
    report = make_report(result, classes) | taken | {"holdout": config.data.holdout}
    print(format_report(report))
    if args.json:
        replace_text(args.json, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluate.py", description="Evaluate a trained model on the validation set.")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="RUN or section.key=value",
        help=f"folder of a run (default: the newest in runs/); options that may change: {', '.join(OVERRIDABLE)}",
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="default: %(default)s")
    parser.add_argument(
        "--weights",
        choices=tuple(WEIGHTS),
        help="the parameters as trained, or their moving average (default: the average where there is one)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write everything, each class and each pair, to FILE")
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_intermixed_args(argv)
    folders = [argument for argument in args.arguments if "=" not in argument or Path(argument).exists()]
    if len(folders) > 1:
        parser.error(f"one run at a time, got {' and '.join(folders)}")
    args.run = folders[0] if folders else None
    args.overrides = [argument for argument in args.arguments if argument not in folders]
    return args


def check_holdout(run: RunFolder, config: Config) -> None:
    """Raises UserError where the run was trained on images of the slice."""
    own = run.read_config().data.holdout
    if config.data.holdout not in (0, own):
        raise UserError(
            f"data.holdout={config.data.holdout:g}: {run.path} was trained with data.holdout={own:g}, so it knows "
            "images of that slice; leave the option out, or set data.holdout=0 for the official validation images"
        )


def read_parameters(run: RunFolder, which: str, weights: str | None, model: Any) -> tuple[Path, str, Any, int]:
    """The file, which weights of those in it, these themselves, and after how many steps they were saved.

    `weights` None takes the average where there is one.

    Raises:
        UserError: there is no such checkpoint, or no average in it; CheckpointError: it is damaged or of another model.
    """
    path = run.best if which == "best" else run.last
    if which == "best" and not path.exists() and run.last.exists():
        raise UserError(f"{path}: no epoch of this run has ended yet, so there is no best one; use --checkpoint last")
    template = jax.eval_shape(model.init, jax.random.key(0))
    averaged = "average" in checkpoint.branches(path)
    if weights == "average" and not averaged:
        raise UserError(f"{path}: no moving average in it, as optim.ema was null; use --weights raw, or leave it out")
    weights = weights or ("average" if averaged else "raw")
    params, meta = checkpoint.restore(path, template, part="average" if weights == "average" else "params")
    return path, weights, params, int(meta["step"] if "step" in meta else meta["progress"]["step"])


def make_report(result: Evaluation, classes: Classes) -> dict[str, Any]:
    """Everything there is to say, as JSON: numbers over the whole set, each class, each pair that was confused."""
    count = len(classes.class_ids)
    confusion = np.zeros((count, count), dtype=int)  # row: label, column: prediction
    np.add.at(confusion, (result.labels, result.predicted), 1)
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
    # From the most frequent; equal counts in the order of the classes, so that the list is the same every time.
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    pairs = [
        {"label": classes.class_names[i], "predicted": classes.class_names[j], "images": int(mistakes[i, j])}
        for i, j in (divmod(int(flat), count) for flat in order)
    ]
    return {
        "images": result.images,
        "loss": result.loss,
        "top1": result.top1,
        "top5": result.top5,
        "chance": 1 / count,
        "per_class": per_class,
        "confused": pairs,
    }


def format_report(report: dict[str, Any]) -> str:
    lines = [
        f"loss    {report['loss']:.4f}",
        f"top-1   {report['top1']:.2%}   (chance {report['chance']:.2%})",
        f"top-5   {report['top5']:.2%}",
    ]
    ranked = sorted((c for c in report["per_class"] if c["images"]), key=lambda c: c["accuracy"])
    shown = min(SHOWN_CLASSES, (len(ranked) + 1) // 2)
    lines += ["", "best classes"] + [f"  {c['accuracy']:7.2%}  {c['name']}" for c in ranked[::-1][:shown]]
    lines += ["worst classes"] + [f"  {c['accuracy']:7.2%}  {c['name']}" for c in ranked[:shown]]
    if report["confused"]:
        pairs = report["confused"][:SHOWN_PAIRS]
        lines += ["most confused"] + [f"  {p['images']:4} x  {p['label']}, taken for {p['predicted']}" for p in pairs]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
