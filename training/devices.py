"""One step on several devices: the images are divided among them, the parameters are on all of them.

The loss is a mean over images, so its gradient is the mean of the gradients of equally large parts. Each device
augments its own part and computes its gradient, and one all-reduce adds them up: from there on every device has the
same gradient, makes the same update, and keeps the same parameters. Nothing else is exchanged.
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
LossAndGrads = Callable[..., tuple[jax.Array, Params]]


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

    @property
    def everywhere(self) -> NamedSharding | None:
        """The place of what every device has whole; None for a single one."""
        return None if self.mesh is None else NamedSharding(self.mesh, P())

    def divided(self, axis: int = 0) -> NamedSharding | None:
        """The place of an array whose `axis` goes over images; None for a single device."""
        return None if self.mesh is None else NamedSharding(self.mesh, P(*[None] * axis, AXIS))

    def put(self, tree: Any) -> Any:
        """Arrays of the host, on every device."""
        return jax.tree.map(lambda leaf: self._put(leaf, self.everywhere), tree)

    def divide(self, tree: Any, axis: int = 0) -> Any:
        """Arrays of the host whose `axis` goes over images, in equal parts on the devices."""
        return jax.tree.map(lambda leaf: self._put(leaf, self.divided(axis)), tree)

    def _put(self, leaf: Any, place: NamedSharding | None) -> jax.Array:
        if place is None:
            return jax.device_put(leaf, self.first)
        # Unlike device_put, this reaches the devices of other processes, which give their own parts.
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, place, lambda part: array[part])


def divide(loss_and_grads: LossAndGrads, mesh: Mesh | None) -> LossAndGrads:
    """`loss_and_grads(params, shared, *parts)` of a batch, of which each device of `mesh` computes its part: (B /
    devices, ...) of each of `parts`. Without a mesh it is what it was.

    The gradients of all parameters travel as one vector, so that there is one all-reduce and not one for each tensor.
    """
    if mesh is None:
        return loss_and_grads

    def divided(params: Params, shared: jax.Array, *parts: jax.Array) -> tuple[jax.Array, Params]:
        def of_part(*arguments: Any) -> tuple[jax.Array, Params]:
            vector, unravel = ravel_pytree(loss_and_grads(*arguments))
            return unravel(jax.lax.pmean(vector, AXIS))

        specs = (P(), P(), *[P(AXIS)] * len(parts))
        return jax.shard_map(of_part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(params, shared, *parts)

    return divided


def choose_devices(wanted: int | Literal["all"], first: jax.Device, batch_size: int, mixes: bool = False) -> Devices:
    """`first` and others of its kind, so many that they are `wanted`; of every process, where several train together.

    Raises:
        ConfigError: there are not so many here, or `batch_size` images cannot be divided equally among them, or only
            into parts of an odd number where pairs of images are mixed.
    """
    here = jax.local_devices(backend=first.platform)
    count = len(here) if wanted == "all" else wanted
    if count > len(here):
        more = f", or set JAX_NUM_CPU_DEVICES={count}" if first.platform == "cpu" else ""
        raise ConfigError(
            f"train.devices={wanted}: JAX finds {counted(len(here), f'{first.platform} device')} here; choose at most "
            f"{len(here)}{more}"
        )
    chosen = _of_all_processes(here[:count]) if jax.process_count() > 1 else _beginning_with(first, here)[:count]
    multiple = len(chosen) * (2 if mixes and len(chosen) > 1 else 1)
    if batch_size % multiple:
        pairs = " in pairs, which augment.mixup and augment.cutmix mix," if multiple > len(chosen) else ""
        raise ConfigError(
            f"train.batch_size={batch_size} cannot be divided equally{pairs} among {len(chosen)} devices: choose a "
            f"multiple of {multiple}, or fewer devices"
        )
    return Devices(chosen)


def _beginning_with(first: jax.Device, here: list[jax.Device]) -> tuple[jax.Device, ...]:
    return first, *(device for device in here if device != first)


def _of_all_processes(here: list[jax.Device]) -> tuple[jax.Device, ...]:
    """As many devices of each process as of this one, in the order of the processes."""
    found = []
    for process in range(jax.process_count()):
        theirs = jax.local_devices(process_index=process, backend=here[0].platform)
        found += theirs[: len(here)]
    return tuple(found)
