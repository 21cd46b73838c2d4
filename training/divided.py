"""The gradient of a batch that several devices share.

The loss is a mean over images, so its gradient is the mean of the gradients of equally large parts:

    g = (g_1 + ... + g_n) / n        g_k: of the part of device k        (SHARE.1)

Each device augments its own part and computes its gradient. One all-reduce adds them up, after which every device has
the same gradient. Nothing else is exchanged.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from model.layer import Params

AXIS = "data"
LossAndGrads = Callable[..., tuple[jax.Array, Params]]


def divide(loss_and_grads: LossAndGrads, mesh: Mesh | None) -> LossAndGrads:
    """`loss_and_grads(params, shared, *parts)` of a batch, of which each device of `mesh` computes its part: (B /
    devices, ...) of each of `parts`. Without a mesh it is returned unchanged.

    The gradients of all parameters travel as one vector, so that there is one all-reduce and not one for each tensor.
    """
    if mesh is None:
        return loss_and_grads

    def divided(params: Params, shared: jax.Array, *parts: jax.Array) -> tuple[jax.Array, Params]:
        def of_part(*arguments: Any) -> tuple[jax.Array, Params]:
            vector, unravel = ravel_pytree(loss_and_grads(*arguments))
            return unravel(jax.lax.pmean(vector, AXIS))  # SHARE.1

        specs = (P(), P(), *[P(AXIS)] * len(parts))
        return jax.shard_map(of_part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(params, shared, *parts)

    return divided
