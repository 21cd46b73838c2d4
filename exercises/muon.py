"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/): one update of one weight matrix.

Momentum   m = MOMENTUM m + g,   and one step ahead (Nesterov),   U = g + MOMENTUM m
Newton-Schulz   X = U / ||U||, where ||U|| is the root of the sum of all squares;   then, STEPS times,
                X <- A X + (B G + C G G) X   with G = X X^T   (all matrix products)
Update     theta <- theta - LEARNING_RATE (RMS sqrt(the longer side) X + WEIGHT_DECAY theta)

m is 0 before the first update. You may also use G = X^T X and multiply by it from the right: here it is the smaller of
the two squares.
"""

import jax.numpy as jnp

LEARNING_RATE = 0.01
MOMENTUM = 0.9
WEIGHT_DECAY = 0.05
RMS = 0.2
STEPS = 5
A, B, C = 3.4445, -4.7750, 2.0315


def update(theta, g, m):
    """theta, gradient g and momentum m, all (rows, columns) -> the new theta and m."""
    raise NotImplementedError  # yours to write
