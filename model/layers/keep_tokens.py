"""A random subset of the patch tokens: PatchDropout (Liu et al. 2023, arXiv:2208.07220).

Forward    y[b, j]           = x[b, kept[b, j]]      kept (B, first + n')                              (KEEP.1)
Backward   dx[b, kept[b, j]] = dy[b, j],             zero at every token that was left out             (KEEP.2)

The forward is a gather, so the backward is a scatter. No token is kept twice, so nothing adds up where it lands. All
that follows computes with fewer tokens: with half of them the encoder costs half as much, and the model, which never
sees a whole image, memorizes it later. Evaluation keeps every token.

`kept` has the first tokens, which are always kept, and then n' of the others, drawn for each image. Positions have to
be added before: afterwards nobody knows where a token comes from.

Shapes     x, dx (B, N, D); y, dy (B, first + n', D) in training; N = first + n
Cache      kept (B, first + n') and x, for its shape alone; kept is None where nothing was left out
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.draws import draw
from model.layer import Params


class KeepTokensCache(NamedTuple):
    kept: jax.Array | None  # (B, first + n') integers, increasing in each row
    x: jax.Array | None  # (B, N, D), of which the backward needs the shape


@dataclass(frozen=True)
class KeepTokens:
    """Leave out a share `rate` of the patch tokens of each image, in training: of n, round((1 - rate) n) are kept, at
    least 1.

    The `first` tokens, such as a class token, are always kept. Kept tokens stay in their order.

    Raises:
        ValueError: `rate` is not in [0, 1), or `first` is negative.
    """

    rate: float
    first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"a patch dropout rate must be at least 0 and below 1, got {self.rate}")
        if self.first < 0:
            raise ValueError(f"first must be at least 0, got {self.first}")

    def count(self, tokens: int) -> int:
        """How many of `tokens` tokens are kept in training, the `first` ones included."""
        patches = tokens - self.first
        return self.first + max(1, round((1 - self.rate) * patches))

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, KeepTokensCache]:
        B, N, _ = x.shape
        if key is None or self.count(N) == N:
            return x, KeepTokensCache(None, None)
        return self.gather(x, self.draw(key, B, N))

    def gather(self, x: jax.Array, kept: jax.Array) -> tuple[jax.Array, KeepTokensCache]:
        """The tokens at the positions `kept`, (B, first + n', D)."""
        return jnp.take_along_axis(x, kept[:, :, None], axis=1), KeepTokensCache(kept, x)  # KEEP.1

    def backward(self, params: Params, cache: KeepTokensCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        if cache.kept is None or cache.x is None:
            return dy, {}
        images = jnp.arange(len(dy))[:, None]
        dx = jnp.zeros(cache.x.shape, dy.dtype)
        return dx.at[images, cache.kept].set(dy, unique_indices=True), {}  # KEEP.2

    def draw(self, key: jax.Array, B: int, N: int) -> jax.Array:
        """The positions that are kept, (B, count): those whose random numbers are smallest, in their order.

        key: a PRNG key, or (B,), one for each image.
        """
        numbers = draw(jax.random.uniform, key, (B, N - self.first))
        smallest = jnp.argsort(numbers, axis=1)[:, : self.count(N) - self.first]
        first = jnp.broadcast_to(jnp.arange(self.first), (B, self.first))
        return jnp.concatenate([first, self.first + jnp.sort(smallest, axis=1)], axis=1)
