"""The calls of the compiled training step: which images each is given, and how many steps it makes."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from data.loader import epoch_rows, prefetch
from training.config import Config
from training.devices import Devices
from training.feed import Feed
from training.plan import Plan
from training.step import StepMetrics, TrainingStep, TrainState


@dataclass(frozen=True, eq=False)
class Dispatch:
    """`state, metrics, asked = dispatch(state, resident, inputs, asked)`: S steps in sequence; each metric has shape
    (S,). `asked` is whether to stop, (devices,), and comes back as whether any of them is: the processes that train
    together learn it from each other with the same dispatch, and stop after the same step."""

    step: TrainingStep
    feed: Feed

    def __call__(
        self, state: TrainState, resident: Any, inputs: Any, asked: jax.Array
    ) -> tuple[TrainState, StepMetrics, jax.Array]:
        def one(state: TrainState, row: Any) -> tuple[TrainState, StepMetrics]:
            return self.step(state, *self.feed.batch(resident, row))

        return *jax.lax.scan(one, state, inputs), asked.any()


@dataclass(frozen=True, eq=False)
class Dispatches:
    """Compiles and makes the dispatches of a run, and prepares their inputs."""

    step: TrainingStep
    feed: Feed
    devices: Devices
    labels: np.ndarray  # of the training images
    plan: Plan
    config: Config

    def compile(self, state: TrainState, steps: int) -> Any:
        """The compiled program of so many steps, for `make`."""
        inputs = self.feed.inputs(np.zeros((steps, self.config.train.batch_size), int))
        places = self.devices.places(state), self.devices.everywhere, self.devices.everywhere
        dispatch = jax.jit(Dispatch(self.step, self.feed), donate_argnums=0, out_shardings=places)
        return dispatch.lower(state, self.feed.resident, inputs, self._answers(False)).compile()

    def make(
        self, program: Any, state: TrainState, inputs: Any, asked: bool = False
    ) -> tuple[TrainState, StepMetrics, jax.Array]:
        """Call a compiled program. The memory of `state` is given up. `asked`: whether this process is to stop."""
        made: tuple[TrainState, StepMetrics, jax.Array] = program(
            state, self.feed.resident, inputs, self._answers(asked)
        )
        return made

    def after(self, step: int) -> Generator[tuple[int, Any], None, None]:
        """The number of steps and the inputs of each dispatch after `step`, prepared in a thread while another one
        computes."""

        def rows_of_dispatches(step: int) -> Iterator[np.ndarray]:
            order, order_of = np.empty((0, 0)), -1
            while step < self.plan.total_steps:
                epoch, first = divmod(step, self.plan.steps_per_epoch)
                if epoch != order_of:
                    order, order_of = self.order(epoch), epoch
                steps = self.plan.dispatch_steps(step)
                yield order[first : first + steps]
                step += steps

        return prefetch(rows_of_dispatches(step), transform=lambda rows: (len(rows), self.feed.inputs(rows)))

    def order(self, epoch: int) -> np.ndarray:
        """The images of each step of an epoch, (steps, B)."""
        train, sampling = self.config.train, self.config.data.sampling
        return epoch_rows(self.labels, train.batch_size, train.seed, epoch, sampling)

    def _answers(self, asked: bool) -> jax.Array:
        answers: jax.Array = self.devices.divide(np.full(self.devices.count, asked))
        return answers
