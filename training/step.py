"""One training step: augment, forward, loss, backward, clip, update. One pure function, compiled once.

The step is a frozen dataclass, so everything that shapes the computation is in its fields, and everything that changes
is in `TrainState`. The random numbers of a step are a function of (seed, number of the step): a run that is resumed
draws what it would have drawn.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from data.augment import Augmentation
from model.layer import Params
from model.loss import CrossEntropy
from model.vit import ViT
from optim import Optimizer
from optim.adamw import AdamWState
from optim.clip import clip_by_global_norm, global_norm
from optim.ema import EMA
from optim.muon import MuonState


class TrainState(NamedTuple):
    """All that a step changes."""

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
        mean, std: of the training pixels in 0..1, a number for each channel.
        max_grad_norm: clip gradients to this global norm; None leaves them.
        augmentation: what the images go through before the model sees them; may mix labels too.
        seed: of augmentation, dropout and drop path.
        chunks: the batch goes through forward and backward in so many equal parts, whose gradients are accumulated. The
            result is that of the whole batch up to rounding; memory is that of a part, and smaller arrays stay in a
            CPU's caches, which is faster there (see `default_chunks`).
        abreast: so many of the chunks are computed side by side, and need the memory of so many. On a CPU one fills the
            cores with its products while another is in a part that cannot use them all (see `default_abreast`).
        ema: the moving average of the parameters that is kept beside them; None: none is.
    """

    model: ViT
    loss: CrossEntropy
    optimizer: Optimizer
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_grad_norm: float | None = None
    augmentation: Augmentation = field(default=Augmentation())
    seed: int = 0
    chunks: int = 1
    abreast: int = 1
    ema: EMA | None = None

    def init(self) -> TrainState:
        """Parameters and optimizer state before the first step."""
        init_key, _ = jax.random.split(jax.random.key(self.seed))
        params = self.model.init(init_key)
        return TrainState(params, self.optimizer.init(params), self.ema.init(params) if self.ema else None)

    def __call__(self, state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, StepMetrics]:
        _, run_key = jax.random.split(jax.random.key(self.seed))
        augment_key, model_key = jax.random.split(jax.random.fold_in(run_key, state.optimizer.step))
        images, labels = self.augment(augment_key, images, labels)
        loss, grads = self.loss_and_grads(state.params, images, labels, model_key)
        if self.max_grad_norm is None:
            grad_norm = global_norm(grads)
        else:
            grads, grad_norm = clip_by_global_norm(grads, self.max_grad_norm)
        learning_rate = self.optimizer.rate(state.optimizer.step)
        params, optimizer = self.optimizer.update(state.params, grads, state.optimizer)
        average = state.average
        if self.ema is not None:
            assert average is not None, "this step keeps a moving average, so it must begin from a state with one"
            average = self.ema.update(average, params, state.optimizer.step)
        return TrainState(params, optimizer, average), StepMetrics(loss, grad_norm, learning_rate)

    def augment(self, key: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Augmented and normalized images, float (B, H, W, C), and labels, (B,) integers or (B, C) probabilities."""
        classes, dtype = self.model.num_classes, jnp.result_type(float)
        return self.augmentation(key, images, labels, self.mean, self.std, classes, dtype)

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        """Mean loss over the batch and its gradient with respect to every parameter."""
        if self.chunks == 1:
            return self._chunk(params, images, labels, key)

        def add_chunk(total: tuple[jax.Array, Params], chunk: tuple) -> tuple[tuple[jax.Array, Params], None]:
            return jax.tree.map(jnp.add, total, self._chunk(params, *chunk)), None

        def cut(batch: jax.Array) -> jax.Array:
            return batch.reshape(self.chunks, -1, *batch.shape[1:])  # (B, ...) -> (chunks, B / chunks, ...)

        zero = (jnp.zeros((), jnp.result_type(float)), jax.tree.map(jnp.zeros_like, params))
        chunks = cut(images), cut(labels), jax.random.split(key, self.chunks)
        total, _ = jax.lax.scan(add_chunk, zero, chunks, unroll=self.abreast)
        return jax.tree.map(lambda summed: summed / self.chunks, total)

    def _chunk(
        self, params: Params, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        logits, cache = self.model.forward(params, images, key)
        loss, loss_cache = self.loss.forward(logits, labels)
        dlogits = self.loss.backward(loss_cache)
        _, grads = self.model.backward(params, cache, dlogits)
        return loss, grads


def default_chunks(batch_size: int, accumulate: int | None, platform: str) -> int:
    """Parts that a batch is cut into: `accumulate`, which must divide the batch.

    Where that is None: on a CPU parts whose size is the divisor of the batch from 4 to 16 that is nearest to 8, which
    was fastest there; one part where there is no such divisor, and on other devices.
    """
    if accumulate is not None:
        return accumulate
    good = [size for size in range(4, 17) if batch_size % size == 0] if platform == "cpu" else []
    return batch_size // min(good, key=lambda size: abs(size - 8), default=batch_size)


def default_abreast(platform: str) -> int:
    """Chunks computed side by side: two on a CPU, measured to be faster than one or four; one on other devices."""
    return 2 if platform == "cpu" else 1
