"""An exponential moving average of the parameters, and how much of it is how old.

Average    average <- average + (1 - d) (theta_t - average),   d = min(DECAY, (1 + t) / (10 + t)),   t = 0, 1, ... T - 1
Shares     the final average is a weighted sum of start and all theta_t: share_t is the weight of theta_t
Age        the mean of T - 1 - t, weighted by the shares (and divided by their sum, which is a little below 1)
"""

import jax
import jax.numpy as jnp

DECAY = 0.5


def moving_average(start, thetas):
    """start (D,), thetas (T, D) -> average (D,), shares (T,), age ()."""
    raise NotImplementedError  # yours to write
