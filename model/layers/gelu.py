"""The Gaussian error linear unit (Hendrycks and Gimpel 2016, arXiv:1606.08415): x times the normal CDF at x.

Exact      y = x * Phi(x),   Phi(x) = (1 + erf(x / sqrt(2))) / 2             (GELU.1)
           ∂y/∂x = Phi(x) + x * phi(x),   phi(x) = exp(-x^2 / 2) / sqrt(2 pi)  (GELU.2)
Tanh form  y = x * (1 + t) / 2,   t = tanh(u),   u = c (x + a x^3)           (GELU.3)
           ∂y/∂x = (1 + t) / 2 + x * (1 - t^2) / 2 * c (1 + 3 a x^2)         (GELU.4)
           with c = sqrt(2 / pi), a = 0.044715: within 5e-4 of the exact form everywhere
Backward   dx = dy * ∂y/∂x                                                   (GELU.5)

GELU.2 and GELU.4 are the product rule; ∂erf(z)/∂z = 2 exp(-z^2) / sqrt(pi) and ∂tanh(u)/∂u = 1 - tanh(u)^2.

Far left, erf and tanh are so close to -1 that 1 + erf and 1 + tanh have few correct digits, then none. So the code
computes the same functions without this sum: Phi(x) = erfc(-x / sqrt(2)) / 2 by the complementary error function, and
(1 + t) / 2 = s = 1 / (1 + exp(-2 u)), the sigmoid of 2 u. GELU.4 is then s + 2 x s (1 - s) c (1 + 3 a x^2).

Shapes     x, y, dx, dy: the same, any shape
Cache      slope = ∂y/∂x, computed in the forward, where s (or Phi) is at hand: one array is kept instead of two
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params

CUBIC = 0.044715
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
FAR = 40.0
"""Beyond -FAR and FAR, Phi and s are 0 and 1 to the last bit of any type, while x^2 may overflow."""


class GELUCache(NamedTuple):
    slope: jax.Array  # ∂y/∂x at x, the shape of x


@dataclass(frozen=True)
class GELU:
    """`form="tanh"` is the usual approximation, `form="erf"` the exact function; each has its own exact derivative.

    Raises:
        ValueError: `form` is neither of these.
    """

    form: Literal["tanh", "erf"] = "tanh"

    def __post_init__(self) -> None:
        if self.form not in ("tanh", "erf"):
            raise ValueError(f"gelu must be 'tanh' or 'erf', got {self.form!r}")

    def init(self, key: jax.Array) -> Params:
        return {}

    def forward(self, params: Params, x: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, GELUCache]:
        y, slope = _tanh_form(x) if self.form == "tanh" else _erf_form(x)
        return y, GELUCache(slope)

    def backward(self, params: Params, cache: GELUCache, dy: jax.Array) -> tuple[jax.Array, Params]:
        return dy * cache.slope, {}  # GELU.5


def _tanh_form(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    near = _near(x)
    square = near * near  # not x**2 and x**3: a general power costs a logarithm and an exponential
    s = 1 / (1 + jnp.exp(-2 * SQRT_2_OVER_PI * near * (1 + CUBIC * square)))
    y = jnp.maximum(x, near) * s  # GELU.3
    slope = s + 2 * near * s * (1 - s) * SQRT_2_OVER_PI * (1 + 3 * CUBIC * square)  # GELU.4
    return y, slope


def _erf_form(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    near = _near(x)
    z = -near * math.sqrt(0.5)
    Phi = 0.5 * jax.lax.erfc(z)
    phi = jnp.exp(-z * z) / math.sqrt(2 * math.pi)
    return jnp.maximum(x, near) * Phi, Phi + near * phi  # GELU.1, GELU.2


def _near(x: jax.Array) -> jax.Array:
    """x, but no further from 0 than FAR. Not by `jnp.clip`, which refuses complex numbers, as a check may use."""
    return jnp.minimum(jnp.maximum(x, -FAR), FAR)
