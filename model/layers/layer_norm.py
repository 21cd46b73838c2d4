"""Layer normalization over the last axis (Ba et al. 2016, arXiv:1607.06450).

Forward    xhat = (x - mean) * rstd,   rstd = 1 / sqrt(var + eps)            (LN.1)
           y    = gamma * xhat + beta                                        (LN.2)
Backward   dxhat = dy * gamma                                                (LN.3)
           dx    = rstd * (dxhat - mean(dxhat) - xhat * mean(dxhat * xhat))  (LN.4)
           dgamma = sum(dy * xhat),  dbeta = sum(dy)   over batch and tokens (LN.5)

Where LN.4 comes from: x_i reaches every xhat_j of its token, by three paths. Directly: rstd * dxhat_i. Through the
mean, which moves every xhat_j by -rstd / D: -rstd * mean(dxhat). Through the variance: ∂var/∂x_i = 2 (x_i - mean) / D
and ∂rstd/∂var = -rstd^3 / 2, so xhat_j moves by -xhat_j * xhat_i * rstd / D: -rstd * xhat_i * mean(dxhat * xhat).
In other words, LN.4 is a projection: what is left of dxhat has no component along the vector of ones and, up to eps,
none along xhat, because shifting or scaling x does not change xhat.

Shapes     x, y, dx, dy (..., D); gamma, beta (D,)
Cache      xhat (..., D) and rstd (..., 1): what LN.4 and LN.5 need, so nothing is computed twice
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params, require_sizes


class LayerNormCache(NamedTuple):
    xhat: jax.Array  # (..., D), for dgamma and the projection in dx
    rstd: jax.Array  # (..., 1), the scale of dx


@dataclass(frozen=True)
class LayerNorm:
    """Normalize the last axis of width `d_model` to mean 0 and variance 1, then scale by gamma and shift by beta.

    Raises:
        ValueError: `d_model` is below 1, or `eps` is negative or infinite.
    """

    d_model: int
    eps: float = 1e-6

    def __post_init__(self) -> None:
        require_sizes(self, "d_model")
        if not 0 <= self.eps < math.inf:
            raise ValueError(f"eps must not be negative or infinite, got {self.eps}")

    def init(self, key: jax.Array) -> Params:
        return {"gamma": jnp.ones(self.d_model), "beta": jnp.zeros(self.d_model)}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, LayerNormCache]:
        centred = x - x.mean(axis=-1, keepdims=True)
        # The rounding error of the mean is left in every feature, about 1e-3 in float32 if x is 1e4. This removes it:
        # centred minus its mean, written so that equal numbers give exactly 0. (Their sum is exact, a mean is rounded.)
        centred = (self.d_model * centred - centred.sum(axis=-1, keepdims=True)) / self.d_model
        # The mean of squared deviations, not E[x^2] - E[x]^2, which loses every digit in float32 when x is far from 0.
        var = (centred * centred).mean(axis=-1, keepdims=True)
        rstd = 1 / jnp.sqrt(var + self.eps)
        xhat = centred * rstd  # LN.1
        y = params["gamma"] * xhat + params["beta"]  # LN.2
        return y, LayerNormCache(xhat, rstd)

    def backward(self, params: Params, cache: LayerNormCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        xhat, rstd = cache
        dxhat = dy * params["gamma"]  # LN.3
        through_mean = dxhat.mean(axis=-1, keepdims=True)
        through_var = xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)
        dx = rstd * (dxhat - through_mean - through_var)  # LN.4

        tokens = tuple(range(dy.ndim - 1))  # every axis but the last
        grads = {"gamma": (dy * xhat).sum(axis=tokens), "beta": dy.sum(axis=tokens)}  # LN.5
        return dx, grads
