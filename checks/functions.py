"""Functions of this model, other than layers, in the form in which the checker takes them."""

from dataclasses import dataclass
from typing import Any

import jax

from model import one_page
from model.layers.attention import AttentionCache, ScaledDotProductAttention
from model.vit import ViT
from verify.case import Tensors, named, to_params


@dataclass(frozen=True)
class AttentionFunction:
    """Scaled dot-product attention as a function of `q`, `k`, `v`, and of `scale` where it is among the tensors."""

    attention: ScaledDotProductAttention

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        mixed, _ = self._forward(tensors, constants)
        return mixed

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        _, cache = self._forward(tensors, constants)
        self._forward({name: 0.5 - 2 * array for name, array in tensors.items()}, constants)  # as in LayerFunction
        gradients = dict(zip(("q", "k", "v", "scale"), self.attention.backward(cache, dy), strict=True))
        return {name: gradient for name, gradient in gradients.items() if gradient is not None}

    def _forward(self, tensors: Tensors, constants: Tensors) -> tuple[jax.Array, AttentionCache]:
        q, k, v = (tensors[name] for name in ("q", "k", "v"))
        return self.attention.forward(q, k, v, tensors.get("scale"), constants.get("key"))


@dataclass(frozen=True)
class OnePageFunction:
    """The loss of `model`, by the plain functions of model/one_page.py."""

    model: ViT

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        loss, _ = self._forward(tensors, constants)
        return loss

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        _, cache = self._forward(tensors, constants)
        self._forward({**tensors, "images": 0.5 - 2 * tensors["images"]}, constants)  # as in LayerFunction
        params, shape = to_params(self.model, tensors), tensors["images"].shape
        dimages, grads = one_page.vit_backward(params, cache, shape[1] // self._rows, shape, self.model.heads)
        return {name: dy * gradient for name, gradient in {**named(grads), "images": dimages}.items()}

    def _forward(self, tensors: Tensors, constants: Tensors) -> tuple[jax.Array, Any]:
        params, images = to_params(self.model, tensors), tensors["images"]
        return one_page.vit_forward(
            params, images, constants["labels"], images.shape[1] // self._rows, self.model.heads
        )

    @property
    def _rows(self) -> int:
        return self.model.patch_embedding.patchify.grid[0]
