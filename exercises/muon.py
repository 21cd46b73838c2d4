"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): one update of one weight matrix.

Momentum   m = MOMENTUM m + g,   and looking one step ahead of it,   U = g + MOMENTUM m
Newton-Schulz   X = U / ||U||, the root of the sum of all squares;   then, STEPS times,
                X <- A X + (B G + C G G) X   with G = X X^T   (products of matrices)
Update     theta less LEARNING_RATE times both: RMS sqrt(the longer side) X, and WEIGHT_DECAY theta

m is 0 before the first update. G may as well be made on the other side, X^T X, and multiplied from the right: that is
the smaller square here.
"""

import jax.numpy as jnp

LEARNING_RATE = 0.01
MOMENTUM = 0.9
WEIGHT_DECAY = 0.05
RMS = 0.2
STEPS = 5
A, B, C = 3.4445, -4.7750, 2.0315


def update(theta, g, m):
    """theta, gradient g and momentum m (rows, columns) -> theta, m: the new ones."""
    raise NotImplementedError  # yours to write
