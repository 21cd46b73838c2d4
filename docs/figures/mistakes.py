"""What a mistake in a backward pass does to training: the loss curves of the book.

    python docs/figures/mistakes.py             a quarter of an hour on two cores
    python docs/figures/mistakes.py NAME ...    these columns alone; the others stay as they are in the file

The demo's model, made smaller, is trained on the shapes from the same seed again and again: as it is, with another seed
to see what chance does, and with one of the mistakes of checks/mutants.yml planted. Some mistakes need a class token or
dropout to show, or are in a layer that is an option, and are compared with a model that has them. What is written,
mistakes.csv beside this file, is the training loss averaged over `EVERY` steps; the book draws its figures from it.
"""

import csv
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
FILE = HERE / "mistakes.csv"
sys.path.insert(0, str(HERE.parent.parent))

from checks.mutants import mutants_by_name, planted  # noqa: E402
from data import shapes  # noqa: E402
from data.dataset import Dataset  # noqa: E402
from data.loader import epoch_rows  # noqa: E402
from data.tiny_imagenet import load  # noqa: E402
from training.config import load_config  # noqa: E402
from training.setup import build_step  # noqa: E402

STEPS, EVERY = 300, 15
IMAGES_PER_CLASS = 160
SMALL = ["model.d_model=64", "model.layers=2", "model.mlp_dim=128", "model.patch_size=16", "augment.crop_padding=0"]

BASES = {  # a name -> what is trained without a mistake: these options besides
    "right": [],
    "right, seed 1": ["train.seed=1"],
    "right, class token": ["model.pooling=class_token", "model.class_token=true", "model.positions=learned"],
    "right, dropout": ["model.dropout=0.2"],
    "right, post-norm": ["model.norm=post"],
    "right, layer scale": ["model.layer_scale=0.1"],
    "right, locality": ["model.learned_temperature=true", "model.masked_diagonal=true"],
    "right, muon": ["optim.name=muon"],
    "right, muon, 3 times the rate": ["optim.name=muon", "optim.learning_rate=3e-3"],
}

MISTAKES = {  # a name -> the base, the file and the mistake there
    "dense, dW a mean": ("right", "model/layers/dense.py", "dW is a mean over the rows, not a sum"),
    "dense, dW of one image": ("right", "model/layers/dense.py", "dW counts one image only"),
    "dense, W reshaped": ("right", "model/layers/dense.py", "W is reshaped in dx, where it should be transposed"),
    "dense, db of one row": ("right", "model/layers/dense.py", "db counts one row only"),
    "residual, no skip": ("right", "model/combinators.py", "the skip connection is forgotten"),
    "residual, no branch": ("right", "model/combinators.py", "the residual branch is forgotten"),
    "gelu, slope is half": ("right", "model/layers/gelu.py", "tanh: the derivative of the tanh is dropped"),
    "gelu, no 3": ("right", "model/layers/gelu.py", "tanh: the inner derivative of the cubic lacks its 3"),
    "softmax, no mean": ("right", "model/layers/softmax.py", "the weighted mean is dropped"),
    "softmax, diagonal": ("right", "model/layers/softmax.py", "only the diagonal of the Jacobian, p (1 - p)"),
    "loss, no 1/B": ("right", "model/loss.py", "1/B is left out"),
    "loss, no labels": ("right", "model/loss.py", "the labels are left out"),
    "norm, constants": ("right", "model/layers/layer_norm.py", "mean and variance are treated as constants"),
    "norm, no mean": ("right", "model/layers/layer_norm.py", "the term through the mean is dropped"),
    "norm, no variance": ("right", "model/layers/layer_norm.py", "the term through the variance is dropped"),
    "norm, no rstd": ("right", "model/layers/layer_norm.py", "rstd is left out"),
    "attention, no scale in dq": ("right", "model/layers/attention.py", "1/sqrt(K) is left out of dq"),
    "attention, heads not undone": (
        "right", "model/layers/multi_head_attention.py", "the heads are split in another order than they were merged",
    ),
    "attention, no transpose in dk": (
        "right", "model/layers/attention.py", "dscores is not transposed in dk",
    ),
    "attention, no dv": ("right", "model/layers/multi_head_attention.py", "dv is forgotten"),
    "row, dy not passed on": (
        "right", "model/combinators.py", "sequential: every layer gets the last gradient of its shape",
    ),
    "patches, not put back": ("right", "model/layers/patch_embedding.py", "the patches are not transposed back"),
    "positions, one image": (
        "right, class token", "model/layers/position_embedding.py", "positions are not summed over the batch",
    ),
    "class token, all tokens": (
        "right, class token", "model/layers/position_embedding.py",
        "the class token collects the gradient of all tokens",
    ),
    "tokens, cut at the wrong end": (
        "right, class token", "model/layers/position_embedding.py", "dx is cut at the wrong end",
    ),
    "last attention, no query in dx": (
        "right, class token", "model/layers/class_token_attention.py",
        "the class token's own query is left out of dx",
    ),
    "last attention, query to all": (
        "right, class token", "model/layers/class_token_attention.py", "the query's share of dx goes to every token",
    ),
    "dropout, no mask": ("right, dropout", "model/layers/dropout.py", "the mask is left out"),
    "dropout, drawn anew": ("right, dropout", "model/layers/dropout.py", "the mask is drawn anew"),
    "adamw, no correction of v": ("right", "optim/adamw.py", "the second bias correction is left out"),
    "adamw, no square in v": ("right", "optim/adamw.py", "the square is left out of v"),
    "adamw, no 1 - beta1": ("right", "optim/adamw.py", "1 - beta1 is left out"),
    "layer scale, no gamma in dx": ("right, layer scale", "model/layers/layer_scale.py", "gamma is left out of dx"),
    "layer scale, no x in dgamma": ("right, layer scale", "model/layers/layer_scale.py", "x is left out of dgamma"),
    "temperature, wrong sign": (
        "right, locality", "model/layers/attention.py",
        "the gradient of the scale has its sign flipped, as that of a temperature",
    ),
    "mask, not in the backward": (
        "right, locality", "model/layers/attention.py", "the softmax keeps the weights without the mask",
    ),
    "muon, q k v as one": (
        "right, muon", "optim/muon.py", "queries, keys and values are taken for one matrix",
    ),
    "muon, not scaled": ("right, muon", "optim/muon.py", "the update is not scaled by its shape"),
}  # fmt: skip


def main(wanted: list[str]) -> None:
    columns = [*BASES, *MISTAKES]
    unknown = set(wanted) - set(columns)
    if unknown:
        raise SystemExit(f"no such column: {', '.join(sorted(unknown))}")
    curves = measured() if wanted else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "shapes")
        shapes.generate(root, train_per_class=IMAGES_PER_CLASS, val_per_class=1, quiet=True)
        dataset = load(root, quiet=True)
        mutants = mutants_by_name()
        for name in wanted or columns:
            if name in BASES:
                curves[name] = losses(dataset, BASES[name])
            else:
                base, file, mistake = MISTAKES[name]
                with planted(mutants[file, mistake]):
                    curves[name] = losses(dataset, BASES[base])
            print(f"{name}: {curves[name][-1]:.3f}", flush=True)
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", *columns])
        for i, row in enumerate(zip(*(curves[name] for name in columns), strict=True)):
            writer.writerow([(i + 1) * EVERY, *(f"{loss:.4f}" for loss in row)])


def measured() -> dict[str, np.ndarray]:
    """The columns of the file as it is."""
    with FILE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "step"}


def losses(dataset: Dataset, options: list[str]) -> np.ndarray:
    """The training loss, averaged over every `EVERY` steps, (STEPS / EVERY,)."""
    config = load_config("demo", [*SMALL, *options])
    step = build_step(config, dataset, STEPS, "cpu")
    compiled = jax.jit(lambda *arguments: step(*arguments))  # its own: none is traced with the mistake of another
    state, found = step.init(), []
    for epoch in range(STEPS):
        for rows in epoch_rows(dataset.train.labels, config.train.batch_size, config.train.seed, epoch):
            state, metrics = compiled(state, dataset.train.images[rows], dataset.train.labels[rows])
            found.append(float(metrics.loss))
            if len(found) == STEPS:
                return np.reshape(found, (-1, EVERY)).mean(axis=1)
    raise AssertionError("an epoch has at least one batch")


if __name__ == "__main__":
    main(sys.argv[1:])
