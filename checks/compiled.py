"""The compiled training step against its operations one by one: is what the backend computes what the program says?

Each part of a step and of an evaluation is compiled as in training, at the sizes and in the precision of a preset, and
compared with the same operations in NumPy (verify/compiled.py). What a compiler fuses depends on shapes and types, so
the layers keep their real sizes; only the batch is one microbatch, and of equal encoder blocks two will do. The loop
over microbatches that training has around them is a part of its own, of a few turns.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from checks.draw import draw_params
from common.cores import available_cores
from common.text import counted
from data.dataset import Dataset, Split
from model.layers.patch_embedding import height_width
from model.mae import MAE
from model.vit import ViT
from training.config import Config
from training.reconstruction import evaluation_step
from training.setup import build_step
from training.step import TrainingStep, default_accumulate, default_concurrency
from verify.agreement import Comparison
from verify.compiled import REGION, compare, compare_regions, locate
from verify.layer import to_params
from verify.results import COMPILED, PASS, WRONG, CaseResult, MethodResult, TensorResult

TARGET = "compiled program"
STEPS = 10_000  # of the schedule; any number will do
QUICK_IMAGES, MOST_IMAGES = 8, 32  # at once, at most, in the default check and in that of a preset: more take longer
TURNS = 2  # of the loop over microbatches
PARTS = AUGMENTATION, GRADIENTS, UPDATE, EVALUATION, LOOP = (
    "augmentation", "forward, loss and backward", "clipping, update and average", "evaluation",
    "loop over microbatches",
)  # fmt: skip
BLOCKS = 2  # encoder blocks: one in the middle, and the last, which may be of another kind


@dataclass(frozen=True)
class Piece:
    """A part of a training step or of an evaluation; `build` returns a function and its arguments."""

    part: str  # of PARTS
    build: Callable[[], tuple[Callable[..., Any], tuple[Any, ...]]]
    note: str  # preset, sizes and precision
    target: str = TARGET

    @property
    def name(self) -> str:
        return f"compiled: {self.part}"


def pieces(config: Config, seed: int, images: int | None = None, blocks: int | None = None) -> list[Piece]:
    """Augmentation, forward and backward, update, evaluation, and the loop over microbatches if there is one.

    images: at once; default: a microbatch.  blocks: encoder blocks, at most; default: all.
    """
    every = config.model.layers
    config = replace(config, model=replace(config.model, layers=every if blocks is None else min(blocks, every)))
    count = images or microbatch(config, QUICK_IMAGES)
    looped = min(microbatches(config), TURNS * default_concurrency(jax.default_backend()))  # microbatches
    shallow = replace(config, model=replace(config.model, layers=min(BLOCKS, config.model.layers)))

    def note(model: ViT, images: int) -> str:
        shape = f"{model.layers} of {counted(every, 'block')}, {counted(images, 'image')}"
        return f"{config.preset}, {shape}, {model.dtype}"

    def batch() -> tuple[TrainingStep, np.ndarray, np.ndarray]:
        return step_of(config, jax.default_backend()), *random_batch(config, count, seed)

    def params(model: ViT | MAE = config.network) -> Any:
        drawn = draw_params(model, np.random.default_rng(seed))
        return to_params(model, {name: array.astype(jnp.result_type(float)) for name, array in drawn.items()})

    def augmentation() -> Any:
        step, x, labels = batch()
        return _named(step.augment, "images", "labels"), (jax.random.key(seed), jnp.asarray(x), jnp.asarray(labels))

    def augmented(step: TrainingStep, count: int) -> tuple[Any, Any, Any]:
        """Numbers like those of augmented images, with labels, and a key of each image."""
        key, (x, labels) = jax.random.key(seed), random_batch(config, count, seed)
        pixels, targets = (_like(array, seed) for array in jax.eval_shape(step.augment, key, x, labels))
        # Labels of mixed images are probabilities.
        targets = labels if targets.ndim == 1 else targets / targets.sum(axis=1, keepdims=True)
        return pixels, targets, jax.random.split(key, count)

    def gradients() -> Any:
        step = step_of(config, jax.default_backend())
        return _named(step.objective.loss_and_grads, "loss", "gradient"), (params(), *augmented(step, count))

    def update() -> Any:
        # The weights of all blocks have the same shapes, so one of them will do where not all are asked for.
        model = config.model if blocks is None else replace(config.model, layers=min(1, every))
        chosen = replace(config, model=model)
        step = step_of(chosen, jax.default_backend())
        state = jax.tree.map(lambda leaf: _like(leaf, seed), jax.eval_shape(step.init))
        weights, rng = params(chosen.network), np.random.default_rng(seed + 1)
        grads = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), weights)
        arguments = state._replace(params=weights), step.trained(grads)
        return _named(step.update, "state", "gradient norm", "learning rate"), arguments

    def evaluation() -> Any:
        step, x, labels = batch()
        evaluate = evaluation_step(config, step.mean, step.std)
        return _named(evaluate, *evaluate.returns), (params(), jnp.asarray(x), jnp.asarray(labels))

    def loop() -> Any:
        step = replace(step_of(shallow, jax.default_backend()), accumulate=looped)
        arguments = params(shallow.network), *augmented(step, looped * count)
        return _named(step.loss_and_grads, "loss", "gradient"), arguments

    builders = {AUGMENTATION: augmentation, GRADIENTS: gradients, UPDATE: update, EVALUATION: evaluation}
    found = [Piece(part, build, note(config.model, count)) for part, build in builders.items()]
    return [*found, Piece(LOOP, loop, note(shallow.model, looped * count))] if looped > 1 else found


def microbatches(config: Config) -> int:
    """Into how many training on this device cuts a batch."""
    return config.train.accumulate or default_accumulate(config.train.batch_size, jax.default_backend())


def microbatch(config: Config, most: int) -> int:
    """Images that go forward and backward together, `most` at most."""
    return min(most, config.train.batch_size // microbatches(config))


def compiled_results(chosen: list[Piece], seed: int, regions: bool) -> Iterator[CaseResult]:
    """The results of pieces, in their order. With `regions`, short runs of operations are also compared one by one."""
    with ThreadPoolExecutor(max_workers=min(4, available_cores())) as pool:
        yield from pool.map(lambda piece: compiled_result(piece, seed, regions), chosen)


def compiled_result(
    piece: Piece, seed: int, regions: bool, jit: Callable[..., Any] = jax.jit, float64: bool = False
) -> CaseResult:
    """The verdict on one piece. Training computes in float32, also where the checks of derivatives need float64."""
    start = time.perf_counter()
    with jax.enable_x64(float64):
        f, args = piece.build()
        compared = compare(f, *args, jit=jit)
        tensors = [_tensor(piece.name, row) for row in compared]
        found = [locate(f, *args, jit=jit)] if any(row.differs for row in compared) else []
        if regions and piece.part != LOOP and not found:  # a loop is a single operation
            found += compare_regions(f, *args, jit=jit)
            found += compare_regions(f, *args, jit=jit, offset=REGION // 2) if not found else []
    version = f"miscompiled by XLA of jaxlib {jax.lib.__version__}, so install another release"
    for tensor in tensors:
        if tensor.verdict == WRONG:
            where = found[0] if found and found[0] is not None else "only the whole program differs"
            tensor.diagnosis = f"{version}: {where}"
    if not any(row.differs for row in compared):
        for culprit in found:
            assert culprit is not None
            tensors.append(_tensor(piece.name, replace(culprit.comparison, name=culprit.operation)))
            tensors[-1].diagnosis = f"{version}: {culprit}"
    seconds = time.perf_counter() - start
    return CaseResult(piece.name, TARGET, frozenset({TARGET}), seed, tensors, seconds=seconds, note=piece.note)


def _tensor(case: str, row: Comparison) -> TensorResult:
    size, scale = int(np.prod(row.shape)), row.scale or 1.0
    result = TensorResult(case, row.name, row.shape, size, checked=size, scale=row.scale)
    result.methods = [
        MethodResult(
            COMPILED, WRONG if row.differs else PASS, worst=row.difference / scale, bar=row.allowed / scale,
            where=row.where, analytic=row.compiled, numeric=row.expected, bar_there=row.allowed,
        )
    ]  # fmt: skip
    return result


def _named(f: Callable[..., tuple[Any, ...]], *names: str) -> Callable[..., dict[str, Any]]:
    """A function that returns a tuple, with names for what it returns."""
    return lambda *args: dict(zip(names, f(*args), strict=True))


def _like(leaf: Any, seed: int) -> np.ndarray:
    """Random numbers of a shape and type; positive ones, as averages of squares are among them."""
    rng = np.random.default_rng(seed)
    whole = jnp.issubdtype(leaf.dtype, jnp.integer)
    return np.asarray(rng.integers(1, 5, leaf.shape) if whole else rng.random(leaf.shape), leaf.dtype)


def random_batch(config: Config, count: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, H, W, C) uint8 and labels (count,) of noise; by default a whole batch."""
    rng, count = np.random.default_rng(seed), config.train.batch_size if count is None else count
    size = (count, *height_width(config.model.image_size), config.model.channels)
    return rng.integers(0, 256, size, dtype=np.uint8), rng.integers(0, config.model.num_classes, count, dtype=np.int32)


def step_of(config: Config, platform: str) -> TrainingStep:
    """The step that `train.py` builds, without its data set."""
    images, labels = random_batch(config, 0)
    empty = Split(images, labels)
    channels = images.shape[-1]
    dataset = Dataset(empty, empty, (), (), (0.5,) * channels, (0.25,) * channels, "")
    return build_step(config, dataset, STEPS, platform)
