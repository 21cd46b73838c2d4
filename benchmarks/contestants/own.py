"""This project's training step, and `jax.value_and_grad` of its own forward with the same optimizer."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.on_jax import JaxProgram, run_on_jax
from benchmarks.contestants.problem import ARCHITECTURE, Problem
from model.layer import Params
from model.loss import CrossEntropy
from model.vit import ViT
from model.weights.maps import to_names
from model.weights.namings import NAMINGS
from optim.adamw import AdamW
from training.objective import Classification
from training.step import TrainingStep, TrainState, default_accumulate, default_concurrency


@dataclass(frozen=True)
class DifferentiatedClassification(Classification):
    """The same forward and loss, with the backward pass left to JAX."""

    def loss_and_grads(
        self, params: Params, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        def loss_of(params: Params) -> jax.Array:
            logits, _ = self.model.forward(params, images, key)
            return self.loss.forward(logits, labels)[0]

        return jax.value_and_grad(loss_of)(params)


def build(name: str, problem: Problem, params: Params) -> Contestant:
    return run_on_jax(problem, lambda platform: own_program(name, problem, params, platform))


def own_program(name: str, problem: Problem, params: Params, platform: str) -> JaxProgram:
    model, kind = own_model(problem), Classification if name == "engine" else DifferentiatedClassification
    accumulate = problem.accumulate or default_accumulate(problem.batch, platform)
    training = TrainingStep(
        objective=kind(model, CrossEntropy()),
        optimizer=own_optimizer(problem),
        mean=(0.0,) * problem.channels,  # the images of the problem are normalized
        std=(1.0,) * problem.channels,
        seed=problem.seed,
        accumulate=1 if name == "autodiff" else accumulate,
        concurrent_microbatches=default_concurrency(platform),
    )

    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        """`TrainingStep.__call__` without augmentation, which no other contestant has, and without metrics."""
        key = jax.random.fold_in(jax.random.key(training.seed), state.optimizer.step)
        loss, grads = training.loss_and_grads(state.params, images, labels, key)
        return TrainState(*training.optimizer.update(state.params, grads, state.optimizer)), loss

    def logits(state: TrainState, images: jax.Array) -> jax.Array:
        return model.forward(state.params, images)[0]

    params = jax.tree.map(jnp.asarray, params)
    return JaxProgram(TrainState(params, training.optimizer.init(params)), step, logits)


def own_model(problem: Problem) -> ViT:
    dtype: Literal["float32", "bfloat16"] = "bfloat16" if problem.dtype == "bfloat16" else "float32"
    sizes = {name: getattr(problem, name) for name in (*ARCHITECTURE, "pad_to_multiple_of")}
    return ViT(eps=problem.norm_eps, dtype=dtype, **sizes)


def own_optimizer(problem: Problem) -> AdamW:
    return AdamW(problem.learning_rate, problem.beta1, problem.beta2, problem.adam_eps, problem.weight_decay)


def named_params(naming: str, problem: Problem, params: Params) -> Params:
    """The engine's parameters under the names that a contestant has them by: its own tree, or another naming."""
    return params if naming == "own" else to_names(NAMINGS[naming], own_model(problem), params)
