"""Overfitting, and what is done about it: the learning curves of the book.

    python -m data.download tiny_imagenet
    python docs/figures/overfitting.py runs/overfitting         minutes on two cores; started again, it goes on
    python docs/figures/overfitting.py --commands               only says what it would train

A small model is trained by train.py on the first ten classes of Tiny ImageNet, 5,000 images: plain, and with four
regularisers. Each run is a folder in the one that is named, and both begin from the same seed. Written beside this
file are overfitting.csv, the losses and top-1 of their metrics.csv, and overfitting-logits.csv, what their last
parameters say of each validation image. Options behind the folder go to every new run: data.root=DIR says where the
data are.
"""

import csv
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from data.augment import normalize  # noqa: E402
from training import checkpoint  # noqa: E402
from training.metrics import read_rows  # noqa: E402
from training.run_folder import RunFolder  # noqa: E402
from training.setup import load_dataset  # noqa: E402

EPOCHS = 30
SMALL = [
    "data.classes=10", "model.num_classes=10", "model.d_model=64", "model.heads=4", "model.layers=4",
    "model.mlp_dim=256", "model.patch_size=16", f"train.epochs={EPOCHS}", "train.batch_size=64", "train.accumulate=1",
]  # fmt: skip
SCHEDULE = [
    "optim.learning_rate=1e-3", "optim.schedule=cosine", "optim.warmup=0.05", "optim.final_learning_rate=1e-6",
    "optim.max_grad_norm=1",
]  # fmt: skip
PLAIN = ["loss.label_smoothing=0", "optim.weight_decay=0", "augment.flip=false", "augment.crop_padding=0"]

RUNS = {  # a name -> what is not as in PLAIN
    "plain": [],
    "all four": [
        "loss.label_smoothing=0.1", "optim.weight_decay=0.5", "augment.flip=true", "augment.crop_padding=8",
        "model.drop_path=0.1",
    ],
}  # fmt: skip
COLUMNS = ("train_loss", "val_loss", "val_top1")


def main(arguments: list[str]) -> None:
    if arguments == ["--commands"]:
        for name in RUNS:
            print(shlex.join(["python", *command(name, Path("runs", "overfitting"), [])]))
        return
    folder, *overrides = arguments
    for name in RUNS:
        subprocess.run([sys.executable, *command(name, Path(folder), overrides)], cwd=ROOT, check=True)
    write_curves(Path(folder))
    write_logits(Path(folder))


def command(name: str, folder: Path, overrides: list[str]) -> list[str]:
    """The call of train.py that begins a run, or goes on with it."""
    run = run_folder(folder, name)
    if run.config_file.exists():
        return ["train.py", "--resume", str(run.path)]
    return ["train.py", "baseline", "--run", str(run.path), *SMALL, *SCHEDULE, *PLAIN, *RUNS[name], *overrides]


def run_folder(folder: Path, name: str) -> RunFolder:
    return RunFolder(folder / name.replace(" ", "-"))


def write_curves(folder: Path) -> None:
    """overfitting.csv: a row for each epoch of each run."""
    with (HERE / "overfitting.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "epoch", *COLUMNS])
        for name in RUNS:
            rows = read_rows(run_folder(folder, name).metrics_file)
            assert len(rows) == EPOCHS, f"{name} was not trained to its end"
            for row in rows:
                writer.writerow([name, row.epoch, *(f"{getattr(row, column):.4f}" for column in COLUMNS)])


def write_logits(folder: Path) -> None:
    """overfitting-logits.csv: for each run and each validation image its label and its logits."""
    with (HERE / "overfitting-logits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "label", *range(10)])
        for name in RUNS:
            run = run_folder(folder, name)
            config = run.read_config()
            template = jax.eval_shape(config.model.init, jax.random.key(0))
            params, _ = checkpoint.restore(run.last, template, part="params")
            dataset = load_dataset(config)
            pixels = normalize(jnp.asarray(dataset.val.images), dataset.mean, dataset.std, jnp.float32)
            logits, _ = jax.jit(config.model.forward)(params, pixels)
            for label, row in zip(dataset.val.labels, np.asarray(logits), strict=True):
                writer.writerow([name, label, *(f"{logit:.2f}" for logit in row)])


if __name__ == "__main__":
    main(sys.argv[1:])
