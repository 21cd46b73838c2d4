"""One step on several devices: the images are divided among them, the parameters are on all of them.

The loss is a mean over images, so its gradient is the mean of the gradients of equally large parts. Each device
computes that of its own part, and one all-reduce adds them up: from there on every device has the same gradient, makes
the same update, and keeps the same parameters. Nothing else is exchanged for the model. Augmentation comes before and
is left to JAX, for a mixed image has its partner on another device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from common.errors import ConfigError
from common.text import counted
from model.layer import Params

AXIS = "data"
LossAndGrads = Callable[[Params, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Params]]


@dataclass(frozen=True)
class Devices:
    """The devices of a run. With one of them everything is as without this class."""

    all: tuple[jax.Device, ...]

    @property
    def count(self) -> int:
        return len(self.all)

    @property
    def first(self) -> jax.Device:
        return self.all[0]

    @property
    def mesh(self) -> Mesh | None:
        """The devices in a row, whose axis is "data"; None for a single one."""
        return Mesh(np.array(self.all), (AXIS,), axis_types=(AxisType.Auto,)) if self.count > 1 else None

    def everywhere(self) -> Any:
        """Where to put what every device needs whole."""
        return self.first if self.mesh is None else NamedSharding(self.mesh, P())

    def divided(self, axis: int = 0) -> Any:
        """Where to put an array whose `axis` goes over images."""
        return self.first if self.mesh is None else NamedSharding(self.mesh, P(*[None] * axis, AXIS))


def divide(loss_and_grads: LossAndGrads, mesh: Mesh) -> LossAndGrads:
    """`loss_and_grads` of a batch, of which each device of `mesh` computes its part: (B / devices, ...) of each array.

    The gradients of all parameters travel as one vector, so that there is one all-reduce and not one for each tensor.
    """

    def of_part(params: Params, images: jax.Array, labels: jax.Array, keys: jax.Array) -> tuple[jax.Array, Params]:
        vector, unravel = ravel_pytree(loss_and_grads(params, images, labels, keys))
        return unravel(jax.lax.pmean(vector, AXIS))

    parts = P(AXIS)
    return jax.shard_map(of_part, mesh=mesh, in_specs=(P(), parts, parts, parts), out_specs=P(), check_vma=False)


def choose_devices(wanted: int | Literal["all"], first: jax.Device, batch_size: int) -> Devices:
    """`first` and others of its kind, so many that they are `wanted`.

    Raises:
        ConfigError: there are not so many here, or `batch_size` images cannot be divided equally among them.
    """
    here = jax.local_devices(backend=first.platform)
    count = len(here) if wanted == "all" else wanted
    if count > len(here):
        more = f", or set JAX_NUM_CPU_DEVICES={count}" if first.platform == "cpu" else ""
        raise ConfigError(
            f"train.devices={wanted}: JAX finds {counted(len(here), f'{first.platform} device')} here; choose at most "
            f"{len(here)}{more}"
        )
    if batch_size % count:
        raise ConfigError(
            f"train.batch_size={batch_size} cannot be divided equally among the {count} devices of "
            f"train.devices={wanted}: choose a multiple of {count}, or fewer devices"
        )
    return Devices((first, *(device for device in here if device != first))[:count])
