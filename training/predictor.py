"""What a trained model says about images: its guesses, and the features that they are based on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from common.errors import UserError
from data.augment import normalize
from data.chosen_images import ReadImage
from data.form import Target
from model.layer import Params
from model.layers.patch_embedding import height_width
from model.layers.softmax import Softmax
from model.vit import ViT
from training.config import Config
from training.device import explained_out_of_memory
from training.setup import image_form
from training.trained import Trained


@dataclass(frozen=True)
class PredictionStep:
    """`logits, probabilities, features = step(params, images)`, for uint8 images (B, H, W, C) as evaluation takes them.

    `logits` and `probabilities` are (B, num_classes), `features` (B, D): the pooled token, which the head reads.
    """

    model: ViT
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        features, logits = self.model.features(params, self.pixels(images))
        probabilities, _ = Softmax().forward({}, logits)
        return logits, probabilities, features

    def pixels(self, images: jax.Array) -> jax.Array:
        """The images as the model takes them."""
        return normalize(images, self.mean, self.std, jnp.result_type(float))


class Prediction(NamedTuple):
    """Of one image.

    `classes` are the most probable ones, the best first, and `probabilities` theirs; both (k,). `features` is (D,), or
    None where they are not asked for.
    """

    name: str
    classes: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray | None


class Predictor:
    """Predicts images in batches of one shape, so that the step is compiled once.

    For `images` images the batch has the next power of two, but at most `most` rows: a single image is not computed
    as a batch of 256, and few shapes are compiled, which the cache of compiled programs keeps.
    """

    def __init__(self, trained: Trained, images: int, top: int, with_features: bool = False) -> None:
        classes, self._params = trained.classes, trained.params
        self._checkpoint, self._with_features = trained.checkpoint, with_features
        self.step = PredictionStep(trained.model, classes.mean, classes.std)
        self.top = min(top, trained.model.num_classes)
        self.batch_size = min(1 << (images - 1).bit_length(), trained.config.train.eval_batch_size)
        self.target = target_of(trained.config)
        self._compiled = jax.jit(self.step)

    def compile(self) -> None:
        """Compile the step. Its work is in vain, but for the first batch it is not announced."""
        self._run(np.zeros((self.batch_size, *self.target.size, self.target.channels), np.uint8))

    def __call__(self, images: Iterable[ReadImage]) -> Iterator[Prediction | ReadImage]:
        """The prediction of each image that was read, in order. Each other one is handed on at once.

        Raises:
            UserError: memory ran out, or the parameters are so large that no probability is a number.
        """
        waiting: list[ReadImage] = []
        for image in images:
            if image.pixels is None:
                yield image
                continue
            waiting.append(image)
            if len(waiting) == self.batch_size:
                yield from self._predict(waiting)
                waiting = []
        if waiting:
            yield from self._predict(waiting)

    def _predict(self, images: list[ReadImage]) -> Iterator[Prediction]:
        batch = np.zeros((self.batch_size, *self.target.size, self.target.channels), np.uint8)  # the rest is padding
        batch[: len(images)] = np.stack([image.pixels for image in images if image.pixels is not None])
        _, probabilities, features = self._run(batch)
        if not np.isfinite(probabilities[: len(images)]).all():
            raise UserError(
                f"{self._checkpoint}: what it says is no number, as of a run that diverged: use another one"
            )
        for image, p, feature in zip(images, probabilities, features, strict=False):
            order = np.argsort(-p, kind="stable")[: self.top]  # equal ones in the order of the classes
            yield Prediction(image.name, order, p[order], feature if self._with_features else None)

    def _run(self, batch: np.ndarray) -> list[np.ndarray]:
        with explained_out_of_memory("train.eval_batch_size"):
            return [np.asarray(result) for result in self._compiled(self._params, batch)]


def target_of(config: Config) -> Target:
    """What an image is brought to, for evaluation as for prediction.

    Raises:
        ConfigError: the model wants channels that no image has.
    """
    form = image_form(config)
    return Target(height_width(config.model.image_size), config.model.channels, form.resize)
