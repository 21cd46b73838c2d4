"""The training step against automatic differentiation and Optax, and what a compiled step must keep to."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data.augment import Augmentation
from model.combinators import Sequential
from model.layers.dense import Dense
from model.layers.dropout import Dropout
from model.layers.patch_embedding import PatchEmbedding
from model.layers.pooling import MeanPooling
from model.loss import CrossEntropy
from model.vit import ViT
from optim.adamw import AdamW, decays
from optim.ema import EMA
from optim.schedule import WarmupCosine
from tests.oracle import assert_close, random_params
from tests.tiny_runs import random_dataset
from training.config import load_config
from training.objective import Classification
from training.setup import build_step
from training.step import TrainingStep, TrainState, default_accumulate

SCHEDULE = WarmupCosine(3e-3, 2, 10, 1e-5)


# A model that compiles in a tenth of the time of a ViT, for what is not about the ViT.
class Small(Sequential):
    num_classes = 5


SMALL: Any = Small(
    (("patch", PatchEmbedding(8, 8, 3, 6)), ("pooling", MeanPooling(class_token=False)), ("head", Dense(6, 5)))
)
WITH_DROPOUT: Any = Small((*SMALL.layers[:2], ("dropout", Dropout(0.3)), SMALL.layers[2]))
VIT = ViT(
    image_size=8, patch_size=4, d_model=8, heads=2, layers=1, mlp_dim=12, num_classes=5,
    dropout=0.2, embedding_dropout=0.1, attention_dropout=0.1, drop_path=0.3, drop_path_rule="constant",
)  # fmt: skip
PLAIN = TrainingStep(
    Classification(SMALL, CrossEntropy(0.1)),
    AdamW(SCHEDULE, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.25),
)
AUGMENTED = replace(PLAIN, augmentation=Augmentation(flip=True, crop_padding=3), max_grad_norm=0.5, seed=7)
MIXED = replace(AUGMENTED, ema=EMA(0.6), augmentation=Augmentation(flip=True, crop_padding=3, mixup=0.8, cutmix=1.0))
AVERAGED = replace(AUGMENTED, ema=EMA(0.6))


def with_model(step: TrainingStep, model: Any) -> TrainingStep:
    return replace(step, objective=Classification(model, CrossEntropy(0.1)))


def batch(seed: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8), rng.integers(0, 5, size, dtype=np.int32)


def random_state(step: TrainingStep) -> TrainState:
    """Behind the zero head of a fresh model most gradients are zero, and zero agrees with anything."""
    params = random_params(step.objective)
    return TrainState(params, step.optimizer.init(params), step.ema.init(params) if step.ema else None)


# The numbers.


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("step", [PLAIN, with_model(MIXED, VIT)], ids=["plain", "all options"])
def test_steps_are_those_of_autodiff_and_optax(step: TrainingStep) -> None:
    """Loss, gradient norm, learning rate and every parameter, over several steps, on the same augmented batches."""
    clip = optax.identity() if step.max_grad_norm is None else optax.clip_by_global_norm(step.max_grad_norm)
    objective: Any = step.objective
    mask = jax.tree_util.tree_map_with_path(decays, random_params(objective))
    oracle = optax.chain(clip, optax.adamw(SCHEDULE, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1, mask=mask))

    @jax.jit
    def expected_step(params, optimizer, number, images, labels):
        _, run_key = jax.random.split(jax.random.key(step.seed))
        augment_key, model_key = jax.random.split(jax.random.fold_in(run_key, number))
        images, labels = step.augment(augment_key, images, labels)
        targets = labels if labels.ndim == 2 else jax.nn.one_hot(labels, 5)

        def loss(params):
            logits, _ = objective.model.forward(params, images, jax.random.split(model_key, len(images)))
            return optax.softmax_cross_entropy(logits, 0.9 * targets + 0.1 / 5).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, optimizer = oracle.update(grads, optimizer, params)
        return optax.apply_updates(params, updates), optimizer, (value, optax.tree.norm(grads), SCHEDULE(number))

    state, our_step = random_state(step), jax.jit(step)
    params, optimizer = state.params, oracle.init(state.params)
    for number in range(6):
        images, labels = batch(number)
        state, metrics = our_step(state, images, labels)
        params, optimizer, expected = expected_step(params, optimizer, number, images, labels)
        np.testing.assert_allclose(metrics, expected, rtol=1e-10)
    assert int(state.optimizer.step) == 6
    assert_close(state.params, params, 1e-10)


@pytest.mark.usefixtures("float64")
def test_an_average_is_kept_beside_parameters_that_know_nothing_of_it() -> None:
    """And starts with them; its memory is 0.1 after the first update, and never more than 0.6."""
    run, plain = jax.jit(AVERAGED, donate_argnums=0), jax.jit(AUGMENTED)
    state, other = jax.jit(TrainingStep.init, static_argnums=0)(AVERAGED), AUGMENTED.init()
    assert_close(state.average, other.params, 0)
    expected = jax.tree.map(np.array, other.params)
    for number in range(12):
        images, labels = batch(number)
        state, metrics = run(state, images, labels)
        other, other_metrics = plain(other, images, labels)
        np.testing.assert_allclose(metrics, other_metrics, rtol=1e-12)
        d = min(0.6, (1 + number) / (10 + number))
        expected = jax.tree.map(lambda mean, theta, d=d: d * mean + (1 - d) * theta, expected, other.params)
    assert_close(state.params, other.params, 1e-12)
    assert_close(state.average, expected, 1e-12)
    assert other.average is None


def test_a_state_without_an_average_is_no_start_for_a_step_that_keeps_one() -> None:
    with pytest.raises(AssertionError, match="begin from a state with one"):
        jax.eval_shape(AVERAGED, AUGMENTED.init(), *batch(1))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("concurrent", [1, 2, 3])
def test_microbatches_change_nothing_but_rounding(concurrent: int) -> None:
    state, (images, labels) = random_state(MIXED), batch(1)
    whole = jax.jit(MIXED)(state, images, labels)
    accumulated = jax.jit(replace(MIXED, accumulate=4, concurrent_microbatches=concurrent))(state, images, labels)
    assert_close(accumulated, whole, 1e-12)


@pytest.mark.usefixtures("float64")
def test_each_image_has_its_own_random_numbers_in_any_microbatch() -> None:
    """Two equal images: with one key for both, dropout would be the same. The numbers are those of the whole batch."""
    step = with_model(PLAIN, WITH_DROPOUT)
    images, labels = batch(1, 2)
    images[1], labels[1] = images[0], labels[0]
    params, key = random_params(step.objective), jax.random.key(3)
    both, grads = jax.jit(replace(step, accumulate=2).loss_and_grads)(params, images, labels, key)
    whole, whole_grads = jax.jit(step.loss_and_grads)(params, images, labels, key)
    one = jax.jit(step.objective.loss_and_grads)
    alone = [float(one(params, images[:1], labels[:1], own[None])[0]) for own in jax.random.split(key, 2)]
    assert float(both) == pytest.approx(np.mean(alone), rel=1e-12)
    assert float(whole) == pytest.approx(float(both), rel=1e-12)
    assert_close(grads, whole_grads, 1e-12)
    assert abs(alone[0] - alone[1]) > 1e-3


def test_a_batch_is_memorised() -> None:
    """No proof of a gradient, which may lack a term and still fall: only that the parts are connected."""
    vit = ViT(image_size=8, patch_size=4, d_model=8, heads=2, layers=1, mlp_dim=12, num_classes=5)
    step = replace(PLAIN, objective=Classification(vit, CrossEntropy()), optimizer=AdamW(1e-2))
    run, state, (images, labels) = jax.jit(step), step.init(), batch(1)
    losses = []
    for _ in range(60):
        state, metrics = run(state, images, labels)
        losses.append(float(metrics.loss))
    assert losses[0] == pytest.approx(np.log(5), rel=1e-4)
    assert losses[-1] < 0.05


# Types.


@pytest.mark.parametrize("accumulate", [1, 2])
def test_single_precision_throughout(accumulate: int) -> None:
    assert types(replace(with_model(MIXED, VIT), accumulate=accumulate)) == {"float32", "int32"}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_double_precision_throughout(accumulate: int) -> None:
    assert types(replace(with_model(MIXED, VIT), accumulate=accumulate)) == {"float64", "int32"}


def types(step: TrainingStep) -> set[str]:
    """Of everything that a step takes along and reports; the one integer must be the number of the step."""
    images, labels = batch(1)
    state, metrics = jax.eval_shape(step, jax.eval_shape(step.init), images, labels)
    augmented = jax.eval_shape(step.augment, jax.random.key(0), images, labels)
    assert state.optimizer.step.dtype == jnp.int32
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(step.init))
    return {str(leaf.dtype) for leaf in jax.tree.leaves((state, metrics, augmented))}


# Random numbers.


@pytest.mark.parametrize(
    "step",
    [replace(PLAIN, augmentation=AUGMENTED.augmentation), with_model(PLAIN, WITH_DROPOUT)],
    ids=["images", "dropout"],
)
def test_random_numbers_are_a_function_of_seed_and_step(step: TrainingStep) -> None:
    state, (images, labels) = random_state(step), batch(1)
    losses = []
    for seed in (0, 1):
        run = jax.jit(replace(step, seed=seed))
        for number in (0, 1, 1000, 0, 1, 1000):
            at = state._replace(optimizer=state.optimizer._replace(step=jnp.int32(number)))
            losses.append(float(run(at, images, labels)[1].loss))
    assert len(set(losses)) == 6
    assert losses[:3] == losses[3:6]


@pytest.mark.parametrize(("flip", "padding"), [(False, 0), (True, 0), (False, 1), (True, 1)])
def test_augmentation_moves_pixels_and_no_more(flip: bool, padding: int) -> None:
    """Each image mirrored or not, shifted by up to the padding, then normalized: found by trying all there is."""
    images, labels = batch(1, size=128)
    step = replace(PLAIN, augmentation=Augmentation(flip=flip, crop_padding=padding))
    result, unchanged = map(np.asarray, step.augment(jax.random.key(1), jnp.asarray(images), jnp.asarray(labels)))
    np.testing.assert_array_equal(unchanged, labels)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = {}
    for mirrored in (False, True):
        for y in (0, 1, 2):
            for x in (0, 1, 2):
                source = padded[:, :, ::-1] if mirrored else padded
                expected = (source[:, y : y + 8, x : x + 8] / 255 - PLAIN.mean) / PLAIN.std
                found[mirrored, y, x] = np.isclose(result, expected, atol=1e-5).all(axis=(1, 2, 3))
    assert (sum(hits.astype(int) for hits in found.values()) == 1).all()  # each image is found, in one way alone
    shifts = (0, 1, 2) if padding else (1,)
    possible = {(mirrored, y, x) for mirrored in {False, flip} for y in shifts for x in shifts}
    assert {way for way, hits in found.items() if hits.any()} == possible


def test_parameters_are_a_function_of_the_seed() -> None:
    first, again, other = (replace(PLAIN, seed=seed).init().params for seed in (0, 0, 1))
    assert_close(first, again, 0)
    assert (first["head"]["W"] != other["head"]["W"]).all()


# Compilation.


class CountedLoss(CrossEntropy):
    """Its forward runs in Python only while a step is traced."""

    traces = 0

    def forward(self, logits, labels):
        CountedLoss.traces += 1
        return super().forward(logits, labels)


def test_one_trace_serves_all_steps_and_all_equal_ones() -> None:
    step = replace(AUGMENTED, objective=Classification(SMALL, CountedLoss(0.1)))
    run, state, CountedLoss.traces = jax.jit(step), step.init(), 0
    for number in range(4):
        state, _ = run(state, *batch(number))
    assert CountedLoss.traces == 1

    again: Any = Small(tuple(SMALL.layers))
    twin = replace(step, objective=Classification(again, CountedLoss(0.1)), optimizer=replace(PLAIN.optimizer))
    assert twin == step
    jax.jit(twin)(state, *batch(5))
    assert CountedLoss.traces == 1

    jax.jit(replace(step, seed=8))(state, *batch(5))  # what differs is another program
    run(state, *batch(5, size=4))
    assert CountedLoss.traces == 3


def test_a_step_is_pure() -> None:
    run, state, (images, labels) = jax.jit(AUGMENTED), random_state(AUGMENTED), batch(1)
    before = jax.tree.map(np.array, state)
    first = run(state, images, labels)
    assert_close(jax.tree.map(np.asarray, state), before, 0)
    assert_close(run(state, images, labels), first, 0)


@pytest.mark.parametrize(
    ("batch_size", "platform", "accumulate"),
    [
        (64, "cpu", 8),
        (16, "cpu", 2),
        (8, "cpu", 1),
        (100, "cpu", 10),
        (17, "cpu", 1),
        (62, "cpu", 1),
        (97, "cpu", 1),
        (64, "gpu", 1),
    ],
)
def test_microbatches_of_a_batch(batch_size: int, platform: str, accumulate: int) -> None:
    assert default_accumulate(batch_size, platform) == accumulate


@pytest.mark.parametrize(("option", "platform", "accumulate"), [
    ("1", "cpu", 1), ("2", "cpu", 2), ("8", "gpu", 8), ("null", "cpu", 8), ("null", "gpu", 1),
])  # fmt: skip
def test_the_configuration_decides_on_the_microbatches(option: str, platform: str, accumulate: int) -> None:
    config = load_config("baseline", ["train.batch_size=64", f"train.accumulate={option}"])
    assert build_step(config, random_dataset(), 10, platform).accumulate == accumulate


# Another objective.


@dataclass(frozen=True)
class MeanColour:
    """Learns the mean colour of the images: loss |m - mean|^2, so its gradient is 2 (m - mean). Labels are not used."""

    num_classes: int = 5

    def init(self, key: jax.Array) -> dict[str, jax.Array]:
        return {"m": jax.random.normal(key, 3)}

    def loss_and_grads(self, params: Any, images: jax.Array, labels: jax.Array, key: jax.Array) -> Any:
        errors = params["m"] - images.mean(axis=(1, 2))  # (B, 3)
        return (errors**2).sum(axis=-1).mean(), {"m": 2 * errors.mean(axis=0)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_trains_any_objective(accumulate: int) -> None:
    """No model, no labels, one tensor that is no weight matrix: it arrives at the mean of the normalized pixels."""
    step = replace(PLAIN, objective=MeanColour(), optimizer=AdamW(0.1), accumulate=accumulate)
    (images, labels), run, state = batch(1), jax.jit(step), step.init()
    assert set(state.params) == {"m"}
    mean = ((images / 255 - PLAIN.mean) / PLAIN.std).mean(axis=(1, 2))
    first = None
    for _ in range(200):
        state, metrics = run(state, images, labels)
        first = metrics.loss if first is None else first
    np.testing.assert_allclose(state.params["m"], mean.mean(axis=0), atol=1e-3)
    assert float(metrics.loss) == pytest.approx(mean.var(axis=0).sum(), abs=1e-5)
    assert float(first) > 2 * float(metrics.loss)


def test_the_number_of_classes_for_mixed_labels_comes_from_the_objective() -> None:
    step = replace(PLAIN, objective=MeanColour(num_classes=9), augmentation=Augmentation(mixup=0.8))
    images, labels = batch(1)
    _, mixed = step.augment(jax.random.key(0), jnp.asarray(images), jnp.asarray(labels))
    assert mixed.shape == (8, 9)
