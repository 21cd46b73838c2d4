"""What training minimizes: the place where a model and its loss meet.

A training step knows neither. It is given an objective, whose parameters it updates with the gradients that the
objective returns. To train a model on something other than labels, write another objective.
"""

from dataclasses import dataclass
from typing import Protocol

import jax

from model.draws import split_key
from model.layer import Params
from model.loss import CrossEntropy
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from model.vit import ViT


class Objective(Protocol):
    """A frozen dataclass that holds configuration and no arrays, so that a step can be a static argument of a jit."""

    def __hash__(self) -> int:
        """Objectives are values: equal configurations are equal objectives."""
        ...

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the data: mixed images get labels (B, C)."""
        ...

    def init(self, key: jax.Array) -> Params:
        """Draw parameters from a PRNG key."""
        ...

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, Params]:
        """The loss, a scalar that is a mean over the images, and its gradients, which have the tree of `params`.

        `images` are normalized, float (B, H, W, channels). `labels` are (B,) integers or (B, C) probabilities. `keys`
        are PRNG keys (B,) for what is random in training, one for each image.
        """
        ...


@dataclass(frozen=True)
class Classification:
    """Predict the class of an image: the loss between the logits of a model and the labels."""

    model: ViT
    loss: CrossEntropy

    @property
    def num_classes(self) -> int:
        return self.model.num_classes

    def init(self, key: jax.Array) -> Params:
        return self.model.init(key)

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, Params]:
        logits, cache = self.model.forward(params, images, keys)
        loss, loss_cache = self.loss.forward(logits, labels)
        dlogits = self.loss.backward(loss_cache)
        _, grads = self.model.backward(params, cache, dlogits)
        return loss, grads


@dataclass(frozen=True)
class MaskedReconstruction:
    """Predict the patches of an image that are hidden from the encoder. The labels are not looked at."""

    model: MAE
    loss: MaskedSquaredError

    @property
    def num_classes(self) -> int:
        return self.model.vit.num_classes

    def init(self, key: jax.Array) -> Params:
        return self.model.init(key)

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, Params]:
        mask_keys, model_keys = split_key(keys, 2)
        kept = self.model.draw(mask_keys, len(images))
        predicted, cache = self.model.forward(params, images, kept, model_keys)
        loss, loss_cache = self.loss.forward(predicted, self.model.patches(images), self.model.hidden(kept))
        dpredicted = self.loss.backward(loss_cache)
        _, grads = self.model.backward(params, cache, dpredicted)
        return loss, grads
