"""Dropout (Srivastava et al. 2014, JMLR 15:1929) and drop path, also called stochastic depth (Huang et al. 2016,
arXiv:1603.09382): noise in training, nothing in evaluation.

Forward    y  = x * mask,   mask = Bernoulli(1 - rate) / (1 - rate)          (DROP.1)
Backward   dx = dy * mask,  with the mask of the forward                     (DROP.2)

Dividing by the share that is kept makes the expected value of y equal to x, so evaluation needs no correction. Dropout
draws for every element; drop path draws once for each image and multiplies a whole residual branch by the result.

Shapes     x, y, dx, dy (B, ...); mask as x for dropout, (B, 1, ..., 1) for drop path
Cache      mask, or None where nothing was dropped (key=None or rate 0)
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.draws import draw
from model.layer import Params


class DropoutCache(NamedTuple):
    mask: jax.Array | None  # 0 or 1 / (1 - rate), for dx


@dataclass(frozen=True)
class Dropout:
    """Set each element to zero with probability `rate` and scale the others up.

    Raises:
        ValueError: `rate` is not in [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"a dropout or drop path rate must be at least 0 and below 1, got {self.rate}")

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, DropoutCache]:
        if key is None or self.rate == 0:
            return x, DropoutCache(None)
        keep = 1 - self.rate
        kept = draw(lambda own, shape: jax.random.bernoulli(own, keep, shape), key, self._mask_shape(x))
        mask = jnp.where(kept, jnp.ones((), x.dtype) / keep, 0)
        return x * mask, DropoutCache(mask)  # DROP.1

    def backward(self, params: Params, cache: DropoutCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        return (dy if cache.mask is None else dy * cache.mask), {}  # DROP.2

    def _mask_shape(self, x: jax.Array) -> tuple[int, ...]:
        return x.shape


@dataclass(frozen=True)
class DropPath(Dropout):
    """Drop the whole input of an image with probability `rate`: the last layer of a residual branch."""

    def _mask_shape(self, x: jax.Array) -> tuple[int, ...]:
        return (x.shape[0],) + (1,) * (x.ndim - 1)  # (B, 1, ..., 1)
