"""What trained models have learned, small enough to be kept: trained.npz beside this file, for figures of the book.

    python train.py demo model.pooling=class_token model.class_token=true model.d_model=64 model.mlp_dim=96 --run DIR
    python docs/figures/trained.py --shapes DIR
    python train.py tiny_imagenet_cpu --run DIR
    python docs/figures/trained.py --tiny-imagenet DIR

What is not named stays as it is in the file. Of the first run the whole model is kept, its parameters in half
precision, so that cells can run it on shapes that they draw. Of the second, which saw photographs, two tensors are
kept: the learned positions, and the principal components of the patch filters, as in figure 7 of Dosovitskiy et al.
(2021, arXiv:2010.11929).
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from evaluate import read_parameters  # noqa: E402
from model.layers.patch_embedding import height_width  # noqa: E402
from training.run_folder import RunFolder  # noqa: E402

FILE = HERE / "trained.npz"
COMPONENTS = 28  # as many as the paper shows


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep what the figures of the book need of trained models.")
    parser.add_argument("--shapes", metavar="RUN", help="a model of generated shapes that pools by the class token")
    parser.add_argument("--tiny-imagenet", metavar="RUN", help="a model of Tiny ImageNet with learned positions")
    args = parser.parse_args()
    kept = dict(np.load(FILE)) if FILE.exists() else {}
    if args.shapes:
        kept |= whole_model(RunFolder.open(args.shapes))
    if args.tiny_imagenet:
        kept |= filters_and_positions(RunFolder.open(args.tiny_imagenet))
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


def whole_model(run: RunFolder) -> dict[str, np.ndarray]:
    """Configuration as JSON, and all parameters in one row, in the order of the leaves of their tree."""
    params, _, model = trained(run)
    classes = run.read_classes()
    about = {"model": dataclasses.asdict(model), "mean": classes.mean, "std": classes.std, "wnids": classes.class_ids}
    row = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    return {"shapes": np.array(json.dumps(about)), "shapes_params": row.astype(np.float16)}


def filters_and_positions(run: RunFolder) -> dict[str, np.ndarray]:
    """Principal components of the patch filters, (COMPONENTS, h, w, C), and the positions, (N, D)."""
    params, step, model = trained(run)
    W = np.asarray(params["patch_embedding"]["project"]["W"], float)  # (P, D): a column is a filter
    directions, _, _ = np.linalg.svd(W, full_matrices=False)  # of the pixels of a patch, the most used first
    filters = directions[:, :COMPONENTS].T.reshape(-1, *height_width(model.patch_size), model.channels)
    positions = np.asarray(params["position_embedding"]["positions"])
    return {
        "tiny_imagenet_step": np.array(step),
        "tiny_imagenet_filters": filters.astype(np.float16),
        "tiny_imagenet_positions": positions.astype(np.float16),
    }


def trained(run: RunFolder) -> tuple[Any, int, Any]:
    """Parameters (their average, where one was kept), the step that they are of, and the model."""
    model = run.read_config().model
    which = "best" if run.best.exists() else "last"  # there is no best one before the end of the first epoch
    _, _, params, step = read_parameters(run, which, None, model)
    return params, step, model


if __name__ == "__main__":
    main()
