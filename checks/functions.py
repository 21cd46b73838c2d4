"""What is checked and is no layer: attention of q, k, v; the loss; the model with its loss; the model on one page."""

from dataclasses import dataclass
from typing import Any

import jax

from model import one_page
from model.layer import Layer
from model.layers.attention import AttentionCache, ScaledDotProductAttention
from model.layers.patch_embedding import height_width
from model.loss import CrossEntropy
from model.vit import ViT
from verify.case import Tensors, named
from verify.layer import other_input, other_key, to_params


@dataclass(frozen=True)
class AttentionFunction:
    """Scaled dot-product attention as a function of `q`, `k`, `v`, and of `scale` where it is among the tensors."""

    attention: ScaledDotProductAttention

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        mixed, _ = self._forward(tensors, constants)
        return mixed

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        _, cache = self._forward(tensors, constants)
        self._forward({n: other_input(array) for n, array in tensors.items()}, constants)  # as in LayerFunction
        gradients = dict(zip(("q", "k", "v", "scale"), self.attention.backward(cache, dy), strict=True))
        return {name: gradient for name, gradient in gradients.items() if gradient is not None}

    def _forward(self, tensors: Tensors, constants: Tensors) -> tuple[jax.Array, AttentionCache]:
        q, k, v = (tensors[name] for name in ("q", "k", "v"))
        return self.attention.forward(q, k, v, tensors.get("scale"), constants.get("key"))


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


@dataclass(frozen=True)
class OnePageFunction:
    """The loss of `model`, by the plain functions of model/one_page.py."""

    model: ViT

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        loss, _ = self._forward(tensors, constants)
        return loss

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        _, cache = self._forward(tensors, constants)
        self._forward({**tensors, "images": other_input(tensors["images"])}, constants)  # as in LayerFunction
        params, shape = to_params(self.model, tensors), tensors["images"].shape
        dimages, grads = one_page.vit_backward(params, cache, self._patch, shape, self.model.heads)
        return {name: dy * gradient for name, gradient in {**named(grads), "images": dimages}.items()}

    def _forward(self, tensors: Tensors, constants: Tensors) -> tuple[jax.Array, Any]:
        params = to_params(self.model, tensors)
        return one_page.vit_forward(params, tensors["images"], constants["labels"], self._patch, self.model.heads)

    @property
    def _patch(self) -> int:
        side, _ = height_width(self.model.patch_size)  # the page knows square patches alone
        return side
