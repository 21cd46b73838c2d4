"""A run whose best parameters are kept in half precision, and what they achieve when they are read back.

    python -m benchmarks.gpu.half RUN --to DIR [--device cpu|gpu]

Of a run with a moving average only that is kept, so the file is a quarter of best.npz. It is read back, widened to
float32 and evaluated on the validation images. Prints one line of JSON.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from common.command import run_command
from training import checkpoint
from training.device import CHOICES, choose_device
from training.evaluation import EvaluationStep, Evaluator
from training.run_folder import RunFolder
from training.setup import load_dataset
from training.trained import load_trained


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.half", description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--to", metavar="DIR", required=True)
    parser.add_argument("--device", choices=CHOICES, default="auto")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args(argv)
    choose_device(args.device)
    run = RunFolder.open(args.run)
    trained, to = load_trained(run), RunFolder.create("", args.to)
    _, meta = checkpoint.load(trained.checkpoint)
    half = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), trained.params)
    meta.pop("weights", None)  # the average stands in the place of the parameters
    for file in (run.config_file, run.classes_file):
        shutil.copy(file, to.path / file.name)
    checkpoint.save(to.best, {"params": half}, {**meta, "kept": trained.description})

    again = load_trained(to, any_precision=True)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), again.params)
    dataset = load_dataset(again.config, draw=False, quiet=True)
    step = EvaluationStep(again.model, again.classes.mean, again.classes.std)
    result = Evaluator(step, dataset.val, again.config.train.eval_batch_size)(params, quiet=True)
    report = {
        "kept": trained.description,
        "MiB as trained": megabytes(trained.checkpoint),
        "MiB in half precision": megabytes(to.best),
        "top-1 read back": result.top1,
        "top-1 as trained": meta["val_top1"],
        "images": result.images,
    }
    print(json.dumps(report))


def megabytes(file: Path) -> float:
    return file.stat().st_size / 2**20


if __name__ == "__main__":
    sys.exit(run_command(main))
