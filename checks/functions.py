"""What is checked and is no layer: attention of q, k, v; the losses; models with their loss; the model on one page."""

from dataclasses import dataclass
from typing import Any

import jax

from model import one_page
from model.layer import Layer
from model.layers.attention import AttentionCache, ScaledDotProductAttention
from model.layers.patch_embedding import height_width
from model.layers.restore_tokens import RestoreTokens, RestoreTokensCache
from model.loss import CrossEntropy
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
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
class RestoreFunction:
    """Tokens that are put back, as a function of `x` and the mask token. Their positions `kept` are a constant."""

    layer: RestoreTokens

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        y, _ = self._forward(tensors["x"], tensors, constants)
        return y

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        _, cache = self._forward(tensors["x"], tensors, constants)
        self._forward(other_input(tensors["x"]), tensors, {**constants, "kept": constants["kept"][::-1]})  # as above
        dx, grads = self.layer.backward(to_params(self.layer, tensors), cache, dy)
        return {**grads, "x": dx}

    def _forward(self, x: jax.Array, tensors: Tensors, constants: Tensors) -> tuple[jax.Array, RestoreTokensCache]:
        return self.layer.forward(to_params(self.layer, tensors), x, constants["kept"], constants.get("key"))


@dataclass(frozen=True)
class MaskedErrorFunction:
    """The error of hidden patches as a function of what is `predicted`. `patches` and `hidden` are constants."""

    loss: MaskedSquaredError

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        value, _ = self.loss.forward(tensors["predicted"], constants["patches"], constants["hidden"])
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        predicted, patches, hidden = tensors["predicted"], constants["patches"], constants["hidden"]
        _, cache = self.loss.forward(predicted, patches, hidden)
        self.loss.forward(other_input(predicted), patches, ~hidden)  # as in verify.layer.LayerFunction
        return {"predicted": dy * self.loss.backward(cache)}


@dataclass(frozen=True)
class MAEFunction:
    """A masked autoencoder and its loss, as a function of the parameters and the `images`.

    What is to be predicted, `patches`, is a constant: no gradient goes through the targets. So is `kept`.
    """

    model: MAE
    loss: MaskedSquaredError

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        params, kept = to_params(self.model, tensors), constants["kept"]
        predicted, _ = self.model.forward(params, tensors["images"], kept, constants.get("key"))
        value, _ = self.loss.forward(predicted, constants["patches"], self.model.hidden(kept))
        return value

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        params, images, key = to_params(self.model, tensors), tensors["images"], constants.get("key")
        kept, patches = constants["kept"], constants["patches"]
        hidden = self.model.hidden(kept)
        predicted, cache = self.model.forward(params, images, kept, key)
        _, loss_cache = self.loss.forward(predicted, patches, hidden)
        others, _ = self.model.forward(params, other_input(images), kept[::-1], other_key(key))  # as in LayerFunction
        self.loss.forward(others, patches, hidden[::-1])
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
