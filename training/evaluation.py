"""Loss and accuracy over a whole split, with every image once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from data.augment import normalize
from data.dataset import Split
from data.loader import Batch, evaluation_batches, prefetch
from model.layer import Params
from model.layers.softmax import Softmax
from model.loss import CrossEntropy
from model.vit import ViT
from training.device import explained_out_of_memory
from training.devices import Devices


class Evaluation(NamedTuple):
    """The result over n images, in the order of the split."""

    images: int  # n
    loss: float  # mean cross entropy in nats, without label smoothing
    top1: float  # fraction of images whose label is the first guess
    top5: float  # fraction of images whose label is among the first five guesses
    labels: np.ndarray  # (n,)
    predicted: np.ndarray  # (n,), the first guess
    probabilities: np.ndarray | None = None  # float32 (n,), of the first guess; of a step in detail
    features: np.ndarray | None = None  # float32 (n, D), the pooled tokens, which the head reads; of a step in detail

    @property
    def balanced_accuracy(self) -> float:
        """The mean over the classes that have images of their recall: of its images, the fraction guessed right first.

        Equal to `top1` where these classes have equally many images. Where they do not, every class counts alike
        nevertheless: a model that always guesses the largest of K classes has only 1 / K.
        """
        _, own = np.unique(self.labels, return_inverse=True)  # numbers only the classes that have images
        return float((np.bincount(own, weights=self.predicted == self.labels) / np.bincount(own)).mean())


@dataclass(frozen=True)
class EvaluationStep:
    """`losses, predicted, in_top5 = step(params, images, labels)`, each (B,); images (B, H, W, C) uint8.

    In detail two more follow: `probabilities` (B,), of the first guess, and `features` (B, D), the pooled tokens.
    """

    model: ViT
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_detail: bool = False
    returns: ClassVar[tuple[str, ...]] = ("losses", "guesses", "in top 5")  # and, in detail, more

    def __call__(self, params: Params, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
        pixels = normalize(images, self.mean, self.std, jnp.result_type(float))
        more: tuple[jax.Array, ...] = ()
        if self.in_detail:
            features, logits = self.model.features(params, pixels)
            probabilities, _ = Softmax().forward({}, logits)
            more = probabilities.max(axis=-1).astype(jnp.float32), features.astype(jnp.float32)
        else:
            logits, _ = self.model.forward(params, pixels)
        # Both accuracies come from one sorted list, so that they agree on the order of equal logits.
        _, guesses = jax.lax.top_k(logits, min(5, self.model.num_classes))
        in_top5 = (guesses == labels[:, None]).any(axis=-1)
        return CrossEntropy().each(logits, labels), guesses[:, 0], in_top5, *more


class Evaluator:
    """Evaluates parameters on one split. The step is compiled at the first call. Several devices share each batch."""

    def __init__(
        self, step: Callable[..., tuple[jax.Array, ...]], split: Split, batch_size: int, devices: Devices | None = None
    ) -> None:
        self.split = split
        count = devices.count if devices else 1
        self.batch_size = -(-min(batch_size, len(split.labels)) // count) * count
        self._devices = devices
        self._step = jax.jit(step, out_shardings=devices.everywhere if devices else None)

    def __call__(self, params: Params, quiet: bool = False) -> Evaluation:
        """Evaluate the whole split; `quiet` hides the progress bar.

        Raises:
            UserError: memory ran out.
        """
        losses, guesses, in_top5, *more = self.results(params, quiet)
        labels = np.asarray(self.split.labels)
        return Evaluation(
            images=len(labels),
            loss=float(losses.astype(np.float64).mean()),
            top1=float((guesses == labels).mean()),
            top5=float(in_top5.mean()),
            labels=labels,
            predicted=guesses,
            probabilities=more[0] if more else None,
            features=more[1] if more else None,
        )

    @property
    def batches(self) -> int:
        """How many times the work of `probe` an evaluation is."""
        return -(-len(self.split.labels) // self.batch_size)

    def results(self, params: Params, quiet: bool = False) -> list[np.ndarray]:
        """What the step returns, of all images: each (n, ...)."""
        found: list[list[np.ndarray]] = []
        images = len(self.split.labels)
        with tqdm(total=images, desc="validation", unit=" images", leave=False, disable=quiet or None) as bar:
            for batch in prefetch(evaluation_batches(self.split, self.batch_size)):
                found.append(self._run(params, batch))
                bar.update(batch.count)
        return [np.concatenate(of_batches) for of_batches in zip(*found, strict=True)]

    def probe(self, params: Params) -> float:
        """The mean loss of the first batch: a cheap test of whether the parameters are finite."""
        losses, *_ = self._run(params, next(evaluation_batches(self.split, self.batch_size)))
        return float(losses.astype(np.float64).mean())

    def _run(self, params: Params, batch: Batch) -> list[np.ndarray]:
        with explained_out_of_memory("train.eval_batch_size"):
            arrays = batch.images, batch.labels
            images, labels = arrays if self._devices is None else self._devices.divide(arrays)
            return [np.asarray(result)[: batch.count] for result in self._step(params, images, labels)]
