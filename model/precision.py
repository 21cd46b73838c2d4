"""Half precision: products and activations in bfloat16, what adds up many numbers in float32.

A bfloat16 has the range of a float32 and 8 of its 24 significant bits, so rounding to it errs by up to 2^-8, or 0.4%.
That is enough for an activation, thousands of which are averaged in a product, and a GPU multiplies such matrices
several times as fast. It is not enough for a sum: 256 + 1 is 256. So means, variances, the softmax and the loss are
computed in float32; a product, a parameter's gradient among them, adds up in float32 and rounds its result once; and
the parameters, to which small steps are added, stay in float32 (mixed-precision training: Micikevicius et al. 2018,
arXiv:1710.03740).

No layer knows about this. `Cast` wraps a layer and converts what enters and leaves it. A cast is the identity up to
rounding, so its backward casts the gradient back. `mixed_precision` wraps each layer of a model in a `Cast`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from model.combinators import Composite, Residual, Sequential
from model.layer import Layer, Params
from model.layers.attention import ProjectedAttention
from model.layers.gelu import GELU
from model.layers.layer_norm import LayerNorm
from model.layers.softmax import Softmax

Precision = Literal["float32", "bfloat16"]

IN_FLOAT32 = (LayerNorm, GELU, Softmax)
"""Layers that sum many numbers or whose function is steep. They compute in float32; inputs and outputs are bfloat16."""


@dataclass(frozen=True)
class Cast:
    """`layer`, computed in the type `inside`, between an input of type `before` and an output of type `after`.

    `forward` casts the parameters and x on the way in, and y on the way out. `backward` casts the parameters, the cache
    and dy on the way in, and dx and the gradients on the way out; gradients get the type of their parameters. Arrays of
    the cache with the shape of x are kept in the type of x, so that the cache takes no more memory than x does.
    """

    layer: Layer
    inside: Precision
    before: Precision = "bfloat16"
    after: Precision = "bfloat16"

    def init(self, key: jax.Array) -> Params:
        return self.layer.init(key)

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None, **more: jax.Array
    ) -> tuple[jax.Array, Any]:
        y, cache = self.layer.forward(_cast(params, self.inside), x.astype(self.inside), key=key, **more)
        return y.astype(self.after), _cast(cache, self.before, x.shape)

    def backward(self, params: Params, cache: Any, dy: jax.Array) -> tuple[jax.Array, Params]:
        dx, grads = self.layer.backward(_cast(params, self.inside), _cast(cache, self.inside), dy.astype(self.inside))
        return dx.astype(self.before), jax.tree.map(lambda grad, leaf: grad.astype(leaf.dtype), grads, params)


def _cast(tree: Any, kind: Precision, shape: tuple[int, ...] | None = None) -> Any:
    """The floating-point arrays of a tree in another type; with `shape`, those of this shape alone."""

    def cast(leaf: jax.Array) -> jax.Array:
        chosen = jnp.issubdtype(leaf.dtype, jnp.floating) and shape in (None, leaf.shape)
        return leaf.astype(kind) if chosen else leaf

    return jax.tree.map(cast, tree)


def mixed_precision(model: Sequential) -> Sequential:
    """`model` from a float32 input to a float32 output, with everything but its last layer in half precision.

    The last layer computes in float32, because the loss depends on differences between logits that bfloat16 cannot
    resolve.
    """
    *body, (name, head) = model.layers
    inner = in_half_precision(Sequential(tuple(body)), before="float32")
    return Sequential((*inner.layers, (name, Cast(head, inside="float32", after="float32"))))


def in_half_precision(layer: Any, before: Precision = "bfloat16") -> Any:
    """`layer` with a `Cast` around each of its leaves (model/walk.py); the input of the first has the type `before`."""
    if isinstance(layer, Sequential):
        return Sequential(tuple(_in_a_row(layer, before)))
    if isinstance(layer, Residual):
        return replace(layer, body=in_half_precision(layer.body, before))
    if isinstance(layer, Composite):
        return in_half_precision(layer.body, before)
    if isinstance(layer, ProjectedAttention):
        layer = replace(layer, softmax=in_half_precision(layer.softmax))
    return Cast(layer, inside="float32" if isinstance(layer, IN_FLOAT32) else "bfloat16", before=before)


def _in_a_row(row: Sequential, before: Precision) -> Iterator[tuple[str, Layer]]:
    for name, layer in row.layers:
        yield name, in_half_precision(layer, before)
        before = "bfloat16"
