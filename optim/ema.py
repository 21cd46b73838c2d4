"""Exponential moving average of the parameters (averaging: Polyak and Juditsky 1992, doi:10.1137/0330046; an
exponential average, evaluated in place of the parameters: Szegedy et al. 2016, arXiv:1512.00567).

average = average + (1 - d) * (theta - average)                              (EMA.1)
d       = min(decay, (1 + t) / (10 + t))                                     (EMA.2)

t is the number of updates made before this one, theta the parameters after it. The late steps of a run wander about a
minimum, and their mean is nearer to it than any of them. A decay of 0.999 averages over about 1000 steps. Early in a
run these would include the random initial values, so EMA.2, the warmup of TensorFlow's ExponentialMovingAverage, begins
at 1/10. EMA.1 adds a small number to a large one, which keeps more digits than decay * average + (1 - decay) * theta.

Shapes     average is a tree like the parameters, same shapes and types
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from optim import Params


@dataclass(frozen=True)
class EMA:
    """Pure `init` and `update`; `decay` is the share of the old average that an update keeps, once the warmup is over.

    Raises:
        ValueError: `decay` is not in [0, 1).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {self.decay}")

    def init(self, params: Params) -> Params:
        """The average before the first update: a copy of the parameters, since a step may donate the memory of both."""
        return jax.tree.map(jnp.copy, params)

    def update(self, average: Params, params: Params, step: jax.Array | int) -> Params:
        """The average after an update that gave `params`, with `step` updates before it."""
        new = 1 - self.rate(step)

        def move(mean: jax.Array, theta: jax.Array) -> jax.Array:
            return mean + new.astype(mean.dtype) * (theta - mean)  # EMA.1

        return jax.tree.map(move, average, params)

    def rate(self, step: jax.Array | int) -> jax.Array:
        """d after `step` updates, a scalar."""
        t = jnp.asarray(step, dtype=float)
        return jnp.minimum(self.decay, (1 + t) / (10 + t))  # EMA.2
