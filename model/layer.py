"""The contract that every layer keeps."""

import math
from typing import Any, Protocol

import jax

Params = dict[str, Any]
"""A nested dictionary of arrays: `{}` where there is nothing to learn. Gradients have exactly the same tree."""


def count_parameters(params: Params) -> int:
    """The number of values in a tree of arrays, or of their shapes as `jax.eval_shape` gives them."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def require_sizes(layer: object, *names: str) -> None:
    """Raises ValueError unless each of these attributes of a layer is a size: at least 1."""
    for name in names:
        if not getattr(layer, name) >= 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(layer, name)}")


class Layer(Protocol):
    """A frozen dataclass that holds configuration and no arrays.

    Nothing is ever stored in a layer, so a whole model is hashable and a training step is one traced function.
    `forward` returns what the backward pass needs in a cache, a NamedTuple, and `backward` takes it.
    """

    def __hash__(self) -> int:
        """Layers are values: equal configurations are equal layers, and a model can be a static argument of a jit."""
        ...

    def init(self, key: jax.Array) -> Params:
        """Draw parameters from a PRNG key; their type is JAX's default float (float64 under `jax_enable_x64`)."""
        ...

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, Any]:
        """Return `(y, cache)`. `key=None` means evaluation; a PRNG key means training (dropout and drop path act): one
        for the batch, or (B,), one for each image (model/draws.py)."""
        ...

    def backward(self, params: Params, cache: Any, dy: jax.Array) -> tuple[jax.Array, Params]:
        """Return `(dx, grads)`: `dx` has the shape of `x`, `grads` the tree of `params`; `dy` has the shape of `y`."""
        ...
