"""One training step: augment, loss and gradients, clip, update. One pure function, compiled once.

The step is a frozen dataclass: its fields hold everything that shapes the computation, and `TrainState` holds
everything that changes. The random numbers of a step are a function of (seed, number of the step), so a resumed run
draws the same numbers as one that was never interrupted.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from data.augment import Augmentation, Keys, split_keys
from model.draws import key_of_each
from model.layer import Params
from optim import Optimizer
from optim.adamw import AdamWState
from optim.clip import clip_by_global_norm, global_norm
from optim.ema import EMA
from optim.muon import MuonState
from training.divided import divide
from training.objective import Objective


class TrainState(NamedTuple):
    """Everything that a step changes."""

    params: Params
    optimizer: AdamWState | MuonState
    average: Params | None = None  # moving average of the parameters; None: none is kept


class StepMetrics(NamedTuple):
    """What a step reports, three scalars."""

    loss: jax.Array  # of the batch, before the update
    grad_norm: jax.Array  # before clipping
    learning_rate: jax.Array


@dataclass(frozen=True)
class TrainingStep:
    """`state, metrics = step(state, images, labels)` with images (B, H, W, C) uint8 and labels (B,) integers.

    Attributes:
        objective: the loss that is minimized, with its parameters and gradients.
        mean, std: of the training pixels scaled to 0..1, one number per channel.
        max_grad_norm: gradients are clipped to this global norm; None: they are not clipped.
        augmentation: applied to the images before they reach the objective; may mix labels too.
        seed: of augmentation, dropout and drop path.
        accumulate: number of microbatches. The batch is cut into that many equal parts, which go forward and backward
            one after another while their gradients are accumulated. The result is that of the whole batch up to
            rounding. It needs the memory of one microbatch, and on a CPU it is faster: smaller arrays stay in the
            caches (see `default_accumulate`).
        concurrent_microbatches: so many microbatches are computed concurrently, and need the memory of as many. On a
            CPU, the matrix products of one keep the cores busy while another does what cannot use them all (see
            `default_concurrency`).
        ema: the moving average of the parameters that is kept beside them; None: no average is kept.
        mesh: the devices that share each batch (training/divided.py); its size must be a multiple of their number.
            None: one device.
        freeze: "backbone" to train the head alone; the optimizer then has a state for the head only. None: nothing.
    """

    objective: Objective
    optimizer: Optimizer
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_grad_norm: float | None = None
    augmentation: Augmentation = field(default=Augmentation())
    seed: int = 0
    accumulate: int = 1
    concurrent_microbatches: int = 1
    ema: EMA | None = None
    freeze: Literal["backbone"] | None = None
    mesh: Mesh | None = None

    def init(self) -> TrainState:
        """Parameters and optimizer state before the first step."""
        init_key, _ = jax.random.split(jax.random.key(self.seed))
        params = self.objective.init(init_key)
        return TrainState(
            params, self.optimizer.init(self.trained(params)), self.ema.init(params) if self.ema else None
        )

    def trained(self, tree: Params) -> Params:
        """The branches of a tree of parameters, or of gradients, that are updated."""
        return {"head": tree["head"]} if self.freeze == "backbone" else tree

    def __call__(self, state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, StepMetrics]:
        _, run_key = jax.random.split(jax.random.key(self.seed))
        augment_key, model_key = jax.random.split(jax.random.fold_in(run_key, state.optimizer.step))
        # Keys for each image, so that it does not matter how many microbatches or devices share the work.
        augment_keys, model_keys = split_keys(augment_key, len(images)), jax.random.split(model_key, len(images))
        parts = images, labels, augment_keys.images, model_keys
        loss, grads = divide(self._of_part, self.mesh)(state.params, augment_keys.mix, *parts)
        state, grad_norm, learning_rate = self.update(state, grads)
        return state, StepMetrics(loss, grad_norm, learning_rate)

    def update(self, state: TrainState, grads: Params) -> tuple[TrainState, jax.Array, jax.Array]:
        """The state after an update by the gradients of what is trained, their norm before clipping, and the learning
        rate."""
        if self.max_grad_norm is None:
            grad_norm = global_norm(grads)
        else:
            grads, grad_norm = clip_by_global_norm(grads, self.max_grad_norm)
        learning_rate = self.optimizer.rate(state.optimizer.step)
        updated, optimizer = self.optimizer.update(self.trained(state.params), grads, state.optimizer)
        params = {**state.params, **updated} if self.freeze else updated
        average = state.average
        if self.ema is not None:
            assert average is not None, "this step keeps a moving average, so it must begin from a state with one"
            average = self.ema.update(average, params, state.optimizer.step)
        return TrainState(params, optimizer, average), grad_norm, learning_rate

    def _of_part(
        self,
        params: Params,
        mix_key: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        augment_keys: jax.Array,
        model_keys: jax.Array,
    ) -> tuple[jax.Array, Params]:
        """Loss and gradients, of what is trained, of a device's part of the batch, before augmentation."""
        images, labels = self.augment(Keys(augment_keys, mix_key), images, labels)
        loss, grads = self.loss_and_grads(params, images, labels, model_keys)
        return loss, self.trained(grads)

    def augment(self, key: jax.Array | Keys, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Augmented and normalized images, float (B, H, W, C), and labels, (B,) integers or (B, C) probabilities."""
        num_classes, dtype = self.objective.num_classes, jnp.result_type(float)
        return self.augmentation(key, images, labels, self.mean, self.std, num_classes, dtype)

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        """Mean loss over the batch, or over a device's part of it, and its gradient with respect to every parameter.

        key: a PRNG key, or (B,), one for each image.
        """
        keys, count = key_of_each(key, len(images)), self._microbatches(len(images))
        if count == 1:
            return self.objective.loss_and_grads(params, images, labels, keys)

        def add_microbatch(total: tuple[jax.Array, Params], microbatch: tuple) -> tuple[tuple[jax.Array, Params], None]:
            return jax.tree.map(jnp.add, total, self.objective.loss_and_grads(params, *microbatch)), None

        def split(batch: jax.Array) -> jax.Array:
            return batch.reshape(count, -1, *batch.shape[1:])  # (B, ...) -> (count, B / count, ...)

        zero = (jnp.zeros((), jnp.result_type(float)), jax.tree.map(jnp.zeros_like, params))
        microbatches = split(images), split(labels), split(keys)
        total, _ = jax.lax.scan(add_microbatch, zero, microbatches, unroll=self.concurrent_microbatches)
        return jax.tree.map(lambda summed: summed / count, total)

    def _microbatches(self, images: int) -> int:
        """Into how many microbatches a device's part of so many images is cut: into as few as make them no larger than
        those of one device that has the whole batch."""
        most = images * (1 if self.mesh is None else self.mesh.size) // self.accumulate
        return next(count for count in range(1, images + 1) if images % count == 0 and images // count <= most)


def default_accumulate(batch_size: int, platform: str) -> int:
    """Number of microbatches where `train.accumulate` does not say.

    On a CPU, the size of a microbatch is the divisor of the batch size from 4 to 16 that is nearest to 8, which was
    measured to be fastest. Without such a divisor, and on other devices, the batch stays whole.
    """
    sizes = [size for size in range(4, 17) if batch_size % size == 0] if platform == "cpu" else []
    return batch_size // min(sizes, key=lambda size: abs(size - 8), default=batch_size)


def default_concurrency(platform: str) -> int:
    """Microbatches that are computed concurrently: two on a CPU, measured to beat one and four; one elsewhere."""
    return 2 if platform == "cpu" else 1
