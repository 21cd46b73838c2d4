"""Pooling: from one vector per token to one vector per image.

Class token   y = x[:, 0]                         dx is dy at the class token, zero elsewhere              (POOL.1)
Mean          y = mean of the n patch tokens      dx is dy / n at every patch token, zero at a class token  (POOL.2)

Shapes        x, dx (B, N, D); y, dy (B, D); N = n + 1 with a class token, else n
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params, require_sizes


class PoolingCache(NamedTuple):
    """Nothing is kept: selecting has constant derivatives."""


class MeanPoolingCache(NamedTuple):
    x: jax.Array  # (B, N, D), of which the backward needs the number of tokens: in training there can be fewer


@dataclass(frozen=True)
class ClassTokenPooling:
    """The first of `tokens` tokens represents the image."""

    tokens: int

    def __post_init__(self) -> None:
        require_sizes(self, "tokens")

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, PoolingCache]:
        return x[:, 0], PoolingCache()

    def backward(self, params: Params, cache: PoolingCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        B, D = dy.shape
        rest = jnp.zeros((B, self.tokens - 1, D), dy.dtype)
        return jnp.concatenate([dy[:, None], rest], axis=1), {}  # POOL.1


@dataclass(frozen=True, kw_only=True)
class MeanPooling:
    """The mean of the patch tokens; a class token in front (`class_token=True`) does not count."""

    class_token: bool = True

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, MeanPoolingCache]:
        return x[:, int(self.class_token) :].mean(axis=1), MeanPoolingCache(x)

    def backward(self, params: Params, cache: MeanPoolingCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        B, D = dy.shape
        patches = cache.x.shape[1] - int(self.class_token)
        dpatches = jnp.broadcast_to(dy[:, None] / patches, (B, patches, D))
        dclass_token = jnp.zeros((B, int(self.class_token), D), dy.dtype)
        return jnp.concatenate([dclass_token, dpatches], axis=1), {}  # POOL.2
