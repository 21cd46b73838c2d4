"""The Taylor test: is a the gradient of f? Asked along one direction v, without any tolerance.

Function    f(x) = sum_i cos(x_i)
Remainder   R(h) = |f(x + h v) - f(x) - h <a, v>|   for each step h of STEPS
Rate        rate_k = log2(R(h_k) / R(h_k+1)),   each step is half of the one before

In half of the cases of the check a is the true gradient, in the others it is a little off. What do the rates tend to?
"""

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 2.0 ** -np.arange(3, 9)


def f(x):
    """x (..., D) -> f (...)."""
    return jnp.cos(x).sum(axis=-1)


def taylor_test(x, v, a):
    """x, direction v and gradient a, (D,) each -> remainders (6,), one for each step, and rates (5,)."""
    raise NotImplementedError  # yours to write
