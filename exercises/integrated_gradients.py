"""Which part of a logit is due to which pixel: gradient times input, and integrated gradients.

Gradient x input   (x - empty) g(x),   where g is the gradient of the logit of `label`
Integrated         (x - empty) times the mean of g along the straight line from `empty` to x, at the midpoints of PARTS
                   equal parts   (Sundararajan et al. 2017, arXiv:1703.01365)

The shares of the second kind add up to the logit of x minus that of `empty`, up to the size of the parts. A backward
takes any incoming gradient: which one gives the gradient of a single logit?
"""

import jax
import jax.numpy as jnp

PARTS = 12


def forward(x, W, V):
    """x (D,), W (D, M), V (M, C) -> logits (C,) and the cache."""
    hidden = jnp.tanh(x @ W)
    return hidden @ V, (hidden, W, V)


def backward(cache, dlogits):
    """dlogits (C,) -> dx (D,)."""
    hidden, W, V = cache
    return ((dlogits @ V.T) * (1 - hidden**2)) @ W.T


def shares(x, empty, W, V, label):
    """x, empty (D,), W (D, M), V (M, C), label () a whole number -> times_input (D,), integrated (D,)."""
    raise NotImplementedError  # yours to write
