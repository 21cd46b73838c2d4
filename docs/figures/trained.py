"""What trained models have learned, for the figures of the book: writes trained.npz beside this file.

    python train.py demo model.pooling=class_token model.class_token=true model.d_model=64 model.mlp_dim=96 --run DIR
    python docs/figures/trained.py --shapes DIR
    python train.py tiny_imagenet_cpu model.pooling=class_token model.class_token=true model.positions=learned \
        model.patch_dropout=0 augment.policy=none optim.learning_rate=3e-3 \
        train.epochs=16 train.batch_size=128 train.accumulate=null --run DIR
    python docs/figures/trained.py --tiny-imagenet DIR

Without one of the options, its part of the file is left unchanged. The file has the whole model of the first run, with
its parameters in half precision, so that the book can run it on shapes. Of the second run, which was trained on
photographs, it has the learned positions and the principal components of the patch filters, as in figure 7 of
Dosovitskiy et al. (2021, arXiv:2010.11929).
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from model.layers.patch_embedding import height_width  # noqa: E402
from training.run_folder import RunFolder  # noqa: E402
from training.trained import Trained, load_trained  # noqa: E402

FILE = HERE / "trained.npz"
COMPONENTS = 28  # as many as the paper shows


def main() -> None:
    parser = argparse.ArgumentParser(description="Write what the figures of the book need of trained models.")
    parser.add_argument("--shapes", metavar="RUN", help="a model of generated shapes that pools by the class token")
    parser.add_argument("--tiny-imagenet", metavar="RUN", help="a model of Tiny ImageNet with learned positions")
    args = parser.parse_args()
    kept = dict(np.load(FILE)) if FILE.exists() else {}
    if args.shapes:
        kept |= whole_model(load(args.shapes))
    if args.tiny_imagenet:
        kept |= filters_and_positions(load(args.tiny_imagenet))
    np.savez_compressed(FILE, **kept)
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")


def load(folder: str) -> Trained:
    trained = load_trained(RunFolder.open(folder))
    print(trained.description)
    return trained


def whole_model(trained: Trained) -> dict[str, np.ndarray]:
    """The configuration as JSON, and all parameters as one vector, in the order of the leaves of their tree."""
    model, classes = trained.model, trained.classes
    about = {"model": dataclasses.asdict(model), "mean": classes.mean, "std": classes.std, "wnids": classes.class_ids}
    row = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(trained.params)])
    return {"shapes": np.array(json.dumps(about)), "shapes_params": row.astype(np.float16)}


def filters_and_positions(trained: Trained) -> dict[str, np.ndarray]:
    """Principal components of the patch filters, (COMPONENTS, h, w, C), and the positions, (N, D)."""
    params, model = trained.params, trained.model
    W = np.asarray(params["patch_embedding"]["project"]["W"], float)  # (P, D): a column is a filter
    directions, _, _ = np.linalg.svd(W, full_matrices=False)  # over the pixels of a patch, the most important first
    filters = directions[:, :COMPONENTS].T.reshape(-1, *height_width(model.patch_size), model.channels)
    positions = np.asarray(params["position_embedding"]["positions"])
    return {
        "tiny_imagenet_step": np.array(trained.step),
        "tiny_imagenet_filters": filters.astype(np.float16),
        "tiny_imagenet_positions": positions.astype(np.float16),
    }


if __name__ == "__main__":
    main()
