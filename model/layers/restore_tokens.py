"""Tokens back in their places, and one learned vector wherever a token is missing (He et al. 2021, arXiv:2111.06377).

Forward    y[b, kept[b, j]] = x[b, j]           where a token was kept                          (REST.1)
           y[b, i]          = mask_token        at every other position i of the image b        (REST.2)
Backward   dx[b, j]    = dy[b, kept[b, j]]                                                      (REST.3)
           dmask_token = sum over all images b and positions i that are missing of dy[b, i]     (REST.4)

KeepTokens the other way round: its backward scatters, and this one's forward; its forward gathers, and this one's
backward. What is new is the mask token. The same vector is copied to every position that is missing, in every image, so
its gradient is the sum, not the mean, over all of these.

A mask token says nothing about where it is. Positions have to be added after this layer.

Shapes     x, dx (B, n', D); y, dy (B, N, D); kept (B, n') integers, no position twice in an image; mask_token (D,)
Cache      kept (B, n')
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params, require_sizes
from model.layers.position_embedding import INIT_STD


class RestoreTokensCache(NamedTuple):
    kept: jax.Array  # (B, n') integers


@dataclass(frozen=True)
class RestoreTokens:
    """`tokens` tokens of width `d_model` from those that KeepTokens kept.

    A layer with a second input: the positions `kept` of the tokens that it is given.
    """

    tokens: int
    d_model: int

    def __post_init__(self) -> None:
        require_sizes(self, "tokens", "d_model")

    def init(self, key: jax.Array) -> Params:
        return {"mask_token": INIT_STD * jax.random.normal(key, (self.d_model,))}

    def forward(
        self, params: Params, x: jax.Array, kept: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, RestoreTokensCache]:
        B, _, D = x.shape
        missing = jnp.broadcast_to(params["mask_token"], (B, self.tokens, D))  # REST.2
        y = missing.at[jnp.arange(B)[:, None], kept].set(x, unique_indices=True)  # REST.1
        return y, RestoreTokensCache(kept)

    def backward(self, params: Params, cache: RestoreTokensCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dx = jnp.take_along_axis(dy, cache.kept[:, :, None], axis=1)  # REST.3
        missing = missing_tokens(cache.kept, self.tokens)
        dmask_token = jnp.where(missing[:, :, None], dy, 0).sum(axis=(0, 1))  # REST.4
        return dx, {"mask_token": dmask_token}


def missing_tokens(kept: jax.Array, tokens: int) -> jax.Array:
    """Which of `tokens` positions of each image are not among `kept`, (B, tokens) booleans."""
    B = len(kept)
    everywhere = jnp.ones((B, tokens), bool)
    return everywhere.at[jnp.arange(B)[:, None], kept].set(False, unique_indices=True)
