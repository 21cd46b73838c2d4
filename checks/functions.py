"""The loss, and the model with its loss, as functions to be checked."""

from dataclasses import dataclass

import jax

from model.layer import Layer
from model.loss import CrossEntropy
from verify.case import Tensors, named
from verify.layer import other_input, other_key, to_params


@dataclass(frozen=True)
class LossFunction:
    """The loss as a function of the logits, at the `labels` among the constants."""

    loss: CrossEntropy

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        value, _ = self.loss.forward(tensors["logits"], constants["labels"])
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        logits, labels = tensors["logits"], constants["labels"]
        _, cache = self.loss.forward(logits, labels)
        self.loss.forward(other_input(logits), labels[::-1])  # as in verify.layer.LayerFunction
        return {"logits": dy * self.loss.backward(cache)}


@dataclass(frozen=True)
class ModelFunction:
    """A model and its loss, as a function of the parameters and the `images`, at the `labels` among the constants."""

    model: Layer
    loss: CrossEntropy

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        logits, _ = self.model.forward(to_params(self.model, tensors), tensors["images"], constants.get("key"))
        value, _ = self.loss.forward(logits, constants["labels"])
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, images, labels = to_params(self.model, tensors), tensors["images"], constants["labels"]
        key = constants.get("key")
        logits, cache = self.model.forward(params, images, key)
        _, loss_cache = self.loss.forward(logits, labels)
        others, _ = self.model.forward(params, other_input(images), other_key(key))  # as in verify.layer.LayerFunction
        self.loss.forward(others, labels[::-1])
        dimages, grads = self.model.backward(params, cache, dy * self.loss.backward(loss_cache))
        return {**named(grads), "images": dimages}
