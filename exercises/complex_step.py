"""The complex step: a gradient to all digits, without a backward and without a difference.

Function    f(x) = sum_m log(1 + |u_m|),   u = x W
Step        gradient_i = Im f(x + i H e_i) / H,   e_i is 1 at i and 0 elsewhere

f below is for real x. The absolute value of a complex number is real: the imaginary part, and with it the slope, would
be lost. Which function equals |u| for real u, and lets the imaginary part through?
"""

import jax
import jax.numpy as jnp

H = 2.0**-80


def f(x, W):
    """x (..., D), real, W (D, M) -> f (...)."""
    return jnp.log(1 + jnp.abs(x @ W)).sum(axis=-1)


def complex_step(x, W):
    """x (D,), W (D, M) -> gradient (D,)."""
    raise NotImplementedError  # yours to write
