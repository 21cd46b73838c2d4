"""Learning rate schedules: functions of the step, the number of updates already made (0 at the first).

Constant        lr(t) = value * min(1, t / warmup_steps), or value without a warmup
WarmupCosine    lr(t) = peak * t / warmup_steps                            while t < warmup_steps  (SCHED.1)
                lr(t) = final + (peak - final) * (1 + cos(pi * u)) / 2     after it                (SCHED.2)
                u     = (t - warmup_steps) / (total_steps - warmup_steps), at most 1

Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983; warmup: Goyal et al. 2017, arXiv:1706.02677.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array], jax.Array | float]
"""From the step, an integer scalar, to the learning rate."""


@dataclass(frozen=True)
class Constant:
    """The same learning rate at every step, after a linear warmup if one is asked for.

    Raises:
        ValueError: a learning rate is negative or not finite, or the warmup is negative.
    """

    value: float
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _require_rates(self.value)
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must not be negative, got {self.warmup_steps}")

    def __call__(self, step: jax.Array | int) -> jax.Array:
        if self.warmup_steps == 0:
            return jnp.asarray(self.value, dtype=float)
        return self.value * jnp.minimum(jnp.asarray(step, dtype=float) / self.warmup_steps, 1.0)


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 to `peak` over `warmup_steps`, then half a cosine period down to `final` at `total_steps`.

    Raises:
        ValueError: a learning rate is negative or not finite; the warmup is negative or leaves no step for the cosine.
    """

    peak: float
    warmup_steps: int
    total_steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _require_rates(self.peak, self.final)
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ValueError(f"warmup of {self.warmup_steps} steps must be shorter than the {self.total_steps} steps")

    def __call__(self, step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, dtype=float)
        warmup = self.peak * step / max(self.warmup_steps, 1)  # SCHED.1
        progress = jnp.minimum((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        cosine = self.final + (self.peak - self.final) * 0.5 * (1 + jnp.cos(math.pi * progress))  # SCHED.2
        return jnp.where(step < self.warmup_steps, warmup, cosine)


def _require_rates(*rates: float) -> None:
    for rate in rates:
        if not 0 <= rate < math.inf:
            raise ValueError(f"a learning rate must not be negative or infinite, got {rate}")
