"""The devices of a run, and what is where on them: images divided, parameters whole on each.

After the all-reduce of training/divided.py every device has the same gradient, makes the same update, and so keeps the
same parameters. Layers, losses and the optimizer compute as for one device; only a Muon whose matrices are divided is
told so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from common.errors import ConfigError
from common.text import counted
from optim.muon import Muon
from training.divided import AXIS
from training.options import TrainConfig
from training.step import TrainingStep, TrainState


@dataclass(frozen=True)
class Devices:
    """The devices of a run; with a single one nothing is divided.

    With `share_optimizer` each keeps its share of the optimizer's state and computes its share of the update, and the
    parameters are gathered: for models whose optimizer takes too much memory (ZeRO, stage 1: Rajbhandari et al. 2020,
    arXiv:1910.02054).
    """

    all: tuple[jax.Device, ...]
    share_optimizer: bool = False

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

    def prepared(self, step: TrainingStep) -> TrainingStep:
        """`step` for these devices."""
        optimizer = step.optimizer
        if self.share_optimizer and isinstance(optimizer, Muon):
            optimizer = replace(optimizer, matrices=self.divided())
        return replace(step, optimizer=optimizer, mesh=self.mesh)

    def places(self, state: TrainState) -> TrainState | None:
        """The place of each array of a state; None for a single device."""
        if self.mesh is None:
            return None
        places = jax.tree.map(lambda leaf: self.everywhere, state)
        if not self.share_optimizer:
            return places
        return places._replace(optimizer=jax.tree.map(self._share, state.optimizer))

    def _share(self, leaf: jax.Array) -> NamedSharding | None:
        """Divided along its first axis that can be; an array without such an axis, mostly a small one, is whole."""
        axis = next((axis for axis, size in enumerate(leaf.shape) if size % self.count == 0), None)
        return self.everywhere if axis is None else self.divided(axis)

    def put_state(self, state: TrainState) -> TrainState:
        """A state of the host, on the devices."""
        places = self.places(state)
        if places is None:
            put: TrainState = jax.device_put(state, self.first)
            return put
        return jax.tree.map(self._put, state, places)

    def whole(self, tree: Any) -> Any:
        """The same arrays in the memory of the host, so that one process can save them: gathered one by one, as no
        device may have room for all of them."""
        gather = _gather(self.everywhere)
        return jax.tree.map(lambda leaf: np.asarray(gather(leaf)), tree) if self.share_optimizer else tree

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


@lru_cache
def _gather(everywhere: NamedSharding | None) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda leaf: leaf, out_shardings=everywhere)


def devices_here(config: TrainConfig, first: jax.Device) -> int:
    """How many devices of this process are to train, be they there or not."""
    return len(jax.local_devices(backend=first.platform)) if config.devices == "all" else config.devices


def choose_devices(config: TrainConfig, first: jax.Device, mixes: bool) -> Devices:
    """`first` and others of its kind, as many as `config.devices`; of every process, where several train together.

    Raises:
        ConfigError: there are not so many here, or a batch cannot be divided equally among them, or only into parts of
            an odd number where pairs of images are mixed.
    """
    here, count, batch_size = jax.local_devices(backend=first.platform), devices_here(config, first), config.batch_size
    if count > len(here):
        more = f", or set JAX_NUM_CPU_DEVICES={count}" if first.platform == "cpu" else ""
        raise ConfigError(
            f"train.devices={count}: JAX finds {counted(len(here), f'{first.platform} device')} here; choose at most "
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
    return Devices(chosen, config.share_optimizer and len(chosen) > 1)


def _beginning_with(first: jax.Device, here: list[jax.Device]) -> tuple[jax.Device, ...]:
    return first, *(device for device in here if device != first)


def _of_all_processes(here: list[jax.Device]) -> tuple[jax.Device, ...]:
    """As many devices of each process as of this one, in the order of the processes."""
    found = []
    for process in range(jax.process_count()):
        theirs = jax.local_devices(process_index=process, backend=here[0].platform)
        found += theirs[: len(here)]
    return tuple(found)
