"""A product of two matrices: the gradients of both factors.

Forward    Z = A B,   in full Z_ij = sum_k A_ik B_kj

Which entries of Z does A_mn reach? Write the sum over them, then find the matrix product that has this sum.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cache(NamedTuple):
    A: jax.Array  # (N, D)
    B: jax.Array  # (D, M)


def forward(A, B):
    """A (N, D), B (D, M) -> Z (N, M) and the cache."""
    return A @ B, Cache(A, B)


def backward(cache, dZ):
    """dZ (N, M) -> dA (N, D), dB (D, M)."""
    raise NotImplementedError  # yours to write
