"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101; Adam: arXiv:1412.6980).

m     = beta1 * m + (1 - beta1) * g            running mean of the gradient                   (ADAMW.1)
v     = beta2 * v + (1 - beta2) * g * g        running mean of its square                     (ADAMW.2)
mhat  = m / (1 - beta1^t),  vhat = v / (1 - beta2^t)    both began at 0: undo that bias       (ADAMW.3)
theta = theta - lr * (mhat / (sqrt(vhat) + eps) + weight_decay * theta)                       (ADAMW.4)

t counts from 1. The decay is multiplied by the learning rate and does not pass through m and v: that is what
"decoupled" means. It acts on matrices only. A bias, a position or the class token is added, not multiplied; a gain sets
the size of a feature, which the next matrix can set too. Shrinking them does not make the function simpler.

Shapes     m and v are trees like the parameters, same shapes and types; step is a scalar integer
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optim import Params
from optim.schedule import Schedule

EMBEDDINGS = ("positions", "class_token")
"""Parameters that may have two axes and are no weight matrices: they are added to tokens, not multiplied with them."""


class AdamWState(NamedTuple):
    step: jax.Array  # (), updates made so far
    m: Params
    v: Params


@dataclass(frozen=True)
class AdamW:
    """Pure `init` and `update`; nothing is stored in the optimizer.

    Attributes:
        learning_rate: a number, or a schedule: a function of the number of updates made so far.
        beta1, beta2: decay rates of the two running means, in [0, 1).
        eps: added to the square root, not under it; keeps the quotient finite.
        weight_decay: times the learning rate, the share by which a matrix shrinks in each step.

    Raises:
        ValueError: a value is out of range.
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not callable(self.learning_rate) and not self.learning_rate >= 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")
        if not (self.eps >= 0 and self.weight_decay >= 0):
            raise ValueError(f"eps and weight_decay must not be negative, got {self.eps} and {self.weight_decay}")

    def init(self, params: Params) -> AdamWState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamWState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update(self, params: Params, grads: Params, state: AdamWState) -> tuple[Params, AdamWState]:
        """One step; `grads` has the tree of `params`. Returns the new parameters and the new state."""
        t = state.step + 1
        rate = self.rate(state.step)
        # In a float32 run under x64 the moments must stay float32, so scalars take the type of what they multiply.
        unbias1 = 1 - jnp.power(self.beta1, jnp.asarray(t, dtype=float))
        unbias2 = 1 - jnp.power(self.beta2, jnp.asarray(t, dtype=float))

        m = jax.tree.map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, state.m, grads)  # ADAMW.1
        v = jax.tree.map(lambda v, g: self.beta2 * v + (1 - self.beta2) * (g * g), state.v, grads)  # ADAMW.2

        def step(path: Any, theta: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            mhat, vhat = m / unbias1.astype(m.dtype), v / unbias2.astype(v.dtype)  # ADAMW.3
            direction = mhat / (jnp.sqrt(vhat) + self.eps)
            if decays(path, theta):
                direction = direction + self.weight_decay * theta
            return theta - rate.astype(theta.dtype) * direction  # ADAMW.4

        return jax.tree_util.tree_map_with_path(step, params, m, v), AdamWState(t, m, v)

    def rate(self, step: jax.Array | int) -> jax.Array:
        """The learning rate after `step` updates, a scalar."""
        value = self.learning_rate(jnp.asarray(step)) if callable(self.learning_rate) else self.learning_rate
        return jnp.asarray(value, dtype=float)


def decays(path: Any, parameter: jax.Array) -> bool:
    """Whether weight decay acts on the parameter at this path of the tree: on matrices that multiply an input."""
    name = path[-1].key if path and hasattr(path[-1], "key") else None
    return parameter.ndim >= 2 and name not in EMBEDDINGS
