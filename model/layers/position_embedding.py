"""Class token and position embedding (Dosovitskiy et al. 2021, arXiv:2010.11929; sinusoids: Vaswani et al. 2017,
arXiv:1706.03762, section 3.5; in two dimensions as in Chen et al. 2021, arXiv:2104.02057).

Forward    tokens = [class_token, x_1, ..., x_n]: the same learned vector in front of every image  (POS.1)
           y = tokens + positions: the same table for every image            (POS.2)
Backward   dpositions   = sum over the batch of dy                           (POS.3)
           dclass_token = sum over the batch of dy[:, 0]                     (POS.4)
           dx           = dy without the class token                         (POS.5)

A copy in the forward is a sum in the backward: one vector feeds all B images, so it collects the gradient of all B.
Sinusoidal tables are constants without a gradient; the class token, which has no place in the image, gets zeros.

Sinusoid   table[pos, 2i] = sin(pos / 10000^(2i/D)),  table[pos, 2i+1] = cos(same)    (POS.6)
           1-D: pos is the index of the patch. 2-D: half of the width encodes its row and half its column, each by
           POS.6 with D / 2 for D.

Shapes     x, dx (B, n, D) with n patches; y, dy (B, N, D), N = n + 1 with a class token, else n
           class_token (D,); positions (N, D) if learned
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.layer import Params, require_sizes

Positions = Literal["learned", "sinusoidal_1d", "sinusoidal_2d", "none"]
INIT_STD = 0.02


class PositionEmbeddingCache(NamedTuple):
    """Nothing is kept: adding and copying have constant derivatives."""


@dataclass(frozen=True)
class PositionEmbedding:
    """Prepend a learned class token (`class_token=True`) and add positions.

    `grid` is the number of patches down and across. `positions` is `"learned"` (a table drawn from N(0, 0.02^2)),
    `"sinusoidal_1d"`, `"sinusoidal_2d"` or `"none"`.

    Raises:
        ValueError: `positions` is none of these, or `d_model` is not a multiple of 2 (1-D) or 4 (2-D sinusoids).
    """

    grid: tuple[int, int]
    d_model: int
    class_token: bool = True
    positions: Positions = "learned"

    def __post_init__(self) -> None:
        require_sizes(self, "d_model")
        multiples = {"learned": 1, "sinusoidal_1d": 2, "sinusoidal_2d": 4, "none": 1}
        if self.positions not in multiples:
            raise ValueError(f"positions must be one of {', '.join(multiples)}, got {self.positions!r}")
        if self.d_model % multiples[self.positions]:
            multiple = multiples[self.positions]
            raise ValueError(f"{self.positions} positions need a d_model divisible by {multiple}, got {self.d_model}")

    @property
    def tokens(self) -> int:
        """N, the class token included."""
        return self.grid[0] * self.grid[1] + self.class_token

    def init(self, key: jax.Array) -> Params:
        params = {}
        token_key, positions_key = jax.random.split(key)
        if self.class_token:
            params["class_token"] = INIT_STD * jax.random.normal(token_key, (self.d_model,))
        if self.positions == "learned":
            params["positions"] = INIT_STD * jax.random.normal(positions_key, (self.tokens, self.d_model))
        return params

    def forward(
        self, params: Params, x: jax.Array, key: jax.Array | None = None
    ) -> tuple[jax.Array, PositionEmbeddingCache]:
        B, _, D = x.shape
        if self.class_token:
            class_tokens = jnp.broadcast_to(params["class_token"], (B, 1, D))
            x = jnp.concatenate([class_tokens, x], axis=1)  # POS.1
        if self.positions == "learned":
            x = x + params["positions"]  # POS.2
        elif self.positions != "none":
            x = x + jnp.asarray(self.sinusoids(), x.dtype)
        return x, PositionEmbeddingCache()

    def backward(self, params: Params, cache: PositionEmbeddingCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        grads = {}
        if self.positions == "learned":
            grads["positions"] = dy.sum(axis=0)  # POS.3
        if self.class_token:
            grads["class_token"] = dy[:, 0].sum(axis=0)  # POS.4
            dy = dy[:, 1:]  # POS.5
        return dy, grads

    def sinusoids(self) -> np.ndarray:
        """The table of sinusoids, (N, D): in two dimensions unless `positions` says "sinusoidal_1d"."""
        rows, columns = self.grid
        if self.positions == "sinusoidal_1d":
            table = _sinusoid(np.arange(rows * columns), self.d_model)
        else:
            row, column = np.divmod(np.arange(rows * columns), columns)
            table = np.hstack([_sinusoid(row, self.d_model // 2), _sinusoid(column, self.d_model // 2)])
        return np.vstack([np.zeros((1, self.d_model)), table]) if self.class_token else table


def _sinusoid(positions: np.ndarray, width: int) -> np.ndarray:
    angles = positions[:, None] / 10000 ** (np.arange(0, width, 2) / width)  # (n, width / 2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(positions), width)  # POS.6
