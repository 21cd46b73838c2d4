"""Optimizers as pure `init` and `update`, schedules as functions of the step, gradient clipping."""

from typing import Any, Protocol

import jax

Params = dict[str, Any]
"""A nested dictionary of arrays; gradients and the optimizer's moments have the same tree."""


class Optimizer(Protocol):
    """What a training step asks of an optimizer: pure functions; `step` of the state counts the updates made."""

    def init(self, params: Params) -> Any:
        """The state before the first update."""
        ...

    def update(self, params: Params, grads: Params, state: Any) -> tuple[Params, Any]:
        """One step; `grads` has the tree of `params`. Returns the new parameters and the new state."""
        ...

    def rate(self, step: jax.Array | int) -> jax.Array:
        """The learning rate after `step` updates, a scalar."""
        ...
