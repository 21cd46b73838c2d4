"""LayerScale (Touvron et al. 2021, arXiv:2103.17239): a learned gain for each channel of a residual branch.

Forward    y      = x * gamma                                                (LS.1)
Backward   dx     = dy * gamma                                               (LS.2)
           dgamma = sum(dy * x)   over batch and tokens                      (LS.3)

At the end of a branch, gamma starts small, so that a block starts out close to the identity and each channel decides
how much of the branch it lets in. It is not a norm: nothing is subtracted or divided, so a single path leads back to x.

Shapes     x, y, dx, dy (..., D); gamma, dgamma (D,)
Cache      x (..., D), for LS.3
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params, require_sizes


class LayerScaleCache(NamedTuple):
    x: jax.Array  # (..., D), for dgamma


@dataclass(frozen=True)
class LayerScale:
    """Multiply the last axis, of width `d_model`, by gamma, whose elements are all initialized to `start`.

    The paper starts at 0.1 up to 18 blocks, 1e-5 up to 24 and 1e-6 beyond: the deeper, the smaller.

    Raises:
        ValueError: `start` is not positive.
    """

    d_model: int
    start: float = 0.1

    def __post_init__(self) -> None:
        require_sizes(self, "d_model")
        if not 0 < self.start < math.inf:
            raise ValueError(f"layer_scale must start above 0, or be None for none, got {self.start}")

    def init(self, key: jax.Array) -> Params:
        return {"gamma": jnp.full(self.d_model, self.start, dtype=float)}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, LayerScaleCache]:
        return x * params["gamma"], LayerScaleCache(x)  # LS.1

    def backward(self, params: Params, cache: LayerScaleCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dx = dy * params["gamma"]  # LS.2
        tokens = tuple(range(dy.ndim - 1))  # every axis but the last
        return dx, {"gamma": (dy * cache.x).sum(axis=tokens)}  # LS.3
