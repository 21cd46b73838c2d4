"""Evaluating a masked autoencoder: how well it predicts hidden patches, and what its features are worth.

The error of the prediction does not say what was learned. So at each evaluation a linear classifier is fitted to the
features of some training images and tried on the validation images: a ridge regression onto the classes, solved in
closed form,

    W = (X^T X + r n I)^-1 X^T Y        X (n, D + 1): features, each of mean 0 and variance 1, and a 1     (PROBE.1)
                                        Y (n, C): 1 at the class of an image, else 0

which takes a moment and has nothing to tune. Labels are used here alone, and nothing that is trained sees them.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from data.augment import normalize
from data.dataset import Dataset, Split
from model.layer import Params
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from training.config import Config
from training.devices import Devices
from training.evaluation import Evaluation, EvaluationStep, Evaluator

PROBED = 10_000
"""Training images that the classifier is fitted to, spread evenly over all; or all, if there are fewer."""
RIDGE = 1e-3
"""r of PROBE.1: small beside the variance of a feature, 1."""
MASK_SEED = 0
"""Of the patches that are hidden in an evaluation: the same at every evaluation, and in every run."""


@dataclass(frozen=True)
class FeatureStep:
    """`(features,) = step(params, images, indices)`: of whole images, (B, D)."""

    model: MAE
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, params: Params, images: jax.Array, indices: jax.Array) -> tuple[jax.Array, ...]:
        pixels = normalize(images, self.mean, self.std, jnp.result_type(float))
        return (self.model.features(params, pixels),)


@dataclass(frozen=True)
class ReconstructionStep(FeatureStep):
    """`losses, features = step(params, images, indices)`: the error of the hidden patches of each image, (B,), and the
    features of the whole one. Which patches are hidden in an image depends on its index in the data alone."""

    normalize_patches: bool = True
    returns: ClassVar[tuple[str, ...]] = ("losses", "features")

    def __call__(self, params: Params, images: jax.Array, indices: jax.Array) -> tuple[jax.Array, ...]:
        pixels = normalize(images, self.mean, self.std, jnp.result_type(float))
        predicted, hidden = self.predict(params, pixels, indices)
        losses = MaskedSquaredError(self.normalize_patches).each(predicted, self.model.patches(pixels), hidden)
        return losses, self.model.features(params, pixels)

    def predict(self, params: Params, pixels: jax.Array, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What is predicted of each patch, (B, n, P), and which patches were hidden, (B, n)."""
        keys = jax.vmap(lambda index: jax.random.fold_in(jax.random.key(MASK_SEED), index))(indices)
        kept = self.model.draw(keys, len(pixels))
        predicted, _ = self.model.forward(params, pixels, kept)
        return predicted, self.model.hidden(kept)


class ReconstructionEvaluator:
    """Evaluates an autoencoder as an `Evaluator` does a classifier. `loss` is the error of the hidden patches; guesses
    and accuracies are those of the linear classifier."""

    def __init__(
        self, step: ReconstructionStep, dataset: Dataset, batch_size: int, devices: Devices | None = None
    ) -> None:
        self.dataset = dataset
        chosen = np.zeros(len(dataset.train.labels), bool)
        chosen[np.linspace(0, len(chosen) - 1, PROBED).astype(int)] = True
        probed = dataset.train.select(chosen)
        self._labels = np.asarray(probed.labels)
        features = FeatureStep(step.model, step.mean, step.std)
        self._validation = Evaluator(step, _numbered(dataset.val), batch_size, devices)
        self._training = Evaluator(features, _numbered(probed), batch_size, devices)

    def __call__(self, params: Params, quiet: bool = False) -> Evaluation:
        losses, features = self._validation.results(params, quiet)
        (known,) = self._training.results(params, quiet)
        classes, labels = len(self.dataset.class_ids), np.asarray(self.dataset.val.labels)
        guesses = linear_probe(known, self._labels, features, classes)
        correct = guesses == labels[:, None]
        return Evaluation(
            images=len(labels),
            loss=float(losses.astype(np.float64).mean()),
            top1=float(correct[:, 0].mean()),
            top5=float(correct.any(axis=1).mean()),
            labels=labels,
            predicted=guesses[:, 0],
        )

    @property
    def batches(self) -> int:
        """How many times the work of `probe` an evaluation is, about: features take no decoder, but every token."""
        return self._validation.batches + self._training.batches

    def probe(self, params: Params) -> float:
        """The mean error of the first batch: a cheap test of whether the parameters are finite."""
        return self._validation.probe(params)


def build_evaluator(
    config: Config, dataset: Dataset, devices: Devices | None = None, in_detail: bool = False
) -> Evaluator | ReconstructionEvaluator:
    """What evaluates the network of a configuration on the validation images; `in_detail` as in `EvaluationStep`."""
    step, batch_size = evaluation_step(config, dataset.mean, dataset.std, in_detail), config.train.eval_batch_size
    if isinstance(step, ReconstructionStep):
        return ReconstructionEvaluator(step, dataset, batch_size, devices)
    return Evaluator(step, dataset.val, batch_size, devices)


def evaluation_step(
    config: Config, mean: tuple[float, ...], std: tuple[float, ...], in_detail: bool = False
) -> EvaluationStep | ReconstructionStep:
    """What an evaluation of the network of a configuration computes of a batch."""
    if config.autoencoder is None:
        return EvaluationStep(config.model, mean, std, in_detail)
    return ReconstructionStep(config.autoencoder, mean, std, config.mae.normalize_patches)


def linear_probe(known: np.ndarray, labels: np.ndarray, features: np.ndarray, classes: int) -> np.ndarray:
    """The five likeliest classes (m, min(5, classes)) of images with `features` (m, D), by a linear classifier of
    `known` (n, D) and their `labels` (n,): PROBE.1."""
    known, features = known.astype(np.float64), features.astype(np.float64)
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale == 0] = 1  # a feature that never changes
    X, Z = (np.hstack([(x - mean) / scale, np.ones((len(x), 1))]) for x in (known, features))
    Y = np.eye(classes)[labels]
    W = np.linalg.solve(X.T @ X + RIDGE * len(X) * np.eye(X.shape[1]), X.T @ Y)
    return np.argsort(-(Z @ W), axis=1, kind="stable")[:, : min(5, classes)]


def _numbered(split: Split) -> Split:
    """The images, with their indices in place of labels."""
    return split._replace(labels=np.arange(len(split.labels), dtype=np.int32))
