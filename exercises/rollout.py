"""Attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928): what reaches the class token, without any gradient.

Block      W_l = the mean over the heads of the weights of block l,   A_l = (W_l + I) / 2
Rollout    R   = A_L ... A_2 A_1,   a product of matrices

In weights[l, b, h] a row belongs to a query and a column to a key. Token 0 is the class token, the others are patches.
"""

import jax
import jax.numpy as jnp


def rollout(weights):
    """weights (L, B, HEADS, N, N), the first block first -> seen (B, N - 1), the patches in the class token."""
    raise NotImplementedError  # yours to write
