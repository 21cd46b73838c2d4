"""A dense (fully connected, linear) layer on the last axis.

Forward    y  = x W + b                                                      (DENSE.1)
Backward   dx = dy W^T                                                       (DENSE.2)
           dW = x^T dy       summed over batch and tokens                    (DENSE.3)
           db = sum(dy)      over batch and tokens                           (DENSE.4)

Why: y_j = sum_i x_i W_ij + b_j, so ∂y_j/∂x_i = W_ij and ∂y_j/∂W_ij = x_i. The chain rule sums over everything that the
variable reaches: x_i reaches every y_j, so dx_i = sum_j dy_j W_ij; W_ij reaches y_j of every token of every image, so
dW_ij is summed over all of them, and so is db_j. Shapes are a guide: (D_in, D_out) can only come from x^T dy.

Shapes     x, dx (..., D_in); y, dy (..., D_out); W, dW (D_in, D_out); b, db (D_out,)
Cache      x (..., D_in), for DENSE.3
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params, require_sizes


class DenseCache(NamedTuple):
    x: jax.Array  # (..., D_in), for dW


@dataclass(frozen=True)
class Dense:
    """`y = x W + b` with `W` of shape `(d_in, d_out)`; `bias=False` omits `b`.

    `weights="glorot"` draws W uniformly from +-sqrt(6 / (d_in + d_out)), which keeps the variance of activations and of
    gradients about the same through the layer (Glorot and Bengio 2010); `"zeros"` suits a classification head, whose
    first predictions are then uniform and whose first loss is log(C).

    Raises:
        ValueError: `weights` is neither of these, or a width is below 1.
    """

    d_in: int
    d_out: int
    bias: bool = True
    weights: Literal["glorot", "zeros"] = "glorot"

    def __post_init__(self) -> None:
        require_sizes(self, "d_in", "d_out")
        if self.weights not in ("glorot", "zeros"):
            raise ValueError(f"weights must be 'glorot' or 'zeros', got {self.weights!r}")

    def init(self, key: jax.Array) -> Params:
        limit = math.sqrt(6 / (self.d_in + self.d_out)) if self.weights == "glorot" else 0.0
        params = {"W": jax.random.uniform(key, (self.d_in, self.d_out), minval=-limit, maxval=limit)}
        if self.bias:
            params["b"] = jnp.zeros(self.d_out)
        return params

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, DenseCache]:
        y = x @ params["W"]
        if self.bias:
            y = y + params["b"]  # DENSE.1
        return y, DenseCache(x)

    def backward(self, params: Params, cache: DenseCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        dx = dy @ params["W"].T  # DENSE.2
        # The sum over batch and tokens is the inner dimension of one matrix product. On a CPU this is several times
        # faster than a contraction over two axes.
        x_rows = cache.x.reshape(-1, self.d_in)  # (..., D_in) -> (rows, D_in)
        dy_rows = dy.reshape(-1, self.d_out)  # (..., D_out) -> (rows, D_out)
        grads = {"W": x_rows.T @ dy_rows}  # DENSE.3
        if self.bias:
            grads["b"] = dy_rows.sum(axis=0)  # DENSE.4
        return dx, grads
