"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101): one update of one parameter.

m and v are running means of the gradient and of its square, both 0 before the first update. t counts updates from 1.
The weight decay is decoupled: it is multiplied by the learning rate, and does not enter m or v.
"""

import jax.numpy as jnp

LEARNING_RATE, BETA1, BETA2, EPS, WEIGHT_DECAY = 0.01, 0.9, 0.999, 1e-3, 0.1  # EPS is large, so that its place shows


def update(theta, g, m, v, t):
    """theta, g, m, v (D, M), t () -> theta, m, v after update number t."""
    raise NotImplementedError  # yours to write
