"""This project's training step, and `jax.value_and_grad` of its own forward with the same optimizer."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from benchmarks.contestants.contract import Running
from benchmarks.contestants.problem import ARCHITECTURE, Problem
from benchmarks.contestants.running import JaxContestant, run_on_jax
from model.layer import Params
from model.loss import CrossEntropy
from model.vit import ViT
from optim.adamw import AdamW
from training.step import TrainingStep, TrainState, default_abreast, default_chunks


@dataclass(frozen=True)
class AutodiffStep(TrainingStep):
    """The engine's step with its backward pass left to JAX: same forward, chunks and optimizer."""

    def _chunk(
        self, params: Params, images: jax.Array, labels: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        def loss(params: Params) -> jax.Array:
            logits, _ = self.model.forward(params, images, key)
            return self.loss.forward(logits, labels)[0]

        return jax.value_and_grad(loss)(params)


def build(name: str, problem: Problem, params: Params) -> Running:
    return run_on_jax(problem, lambda platform: own_step(name, problem, params, platform))


def own_step(name: str, problem: Problem, params: Params, platform: str) -> JaxContestant:
    kind = TrainingStep if name == "engine" else AutodiffStep
    chunks = 1 if name == "autodiff" else default_chunks(problem.batch, problem.accumulate, platform)
    training = kind(
        model=own_model(problem),
        loss=CrossEntropy(),
        optimizer=own_optimizer(problem),
        mean=(0.0,) * problem.channels,  # the images come normalized
        std=(1.0,) * problem.channels,
        seed=problem.seed,
        chunks=chunks,
        abreast=default_abreast(platform),
    )

    def step(state: TrainState, images: jax.Array, labels: jax.Array) -> tuple[TrainState, jax.Array]:
        """`TrainingStep.__call__` without augmentation, which no other contestant has, and without metrics."""
        key = jax.random.fold_in(jax.random.key(training.seed), state.optimizer.step)
        loss, grads = training.loss_and_grads(state.params, images, labels, key)
        return TrainState(*training.optimizer.update(state.params, grads, state.optimizer)), loss

    def logits(state: TrainState, images: jax.Array) -> jax.Array:
        return training.model.forward(state.params, images)[0]

    params = jax.tree.map(jnp.asarray, params)
    return JaxContestant(TrainState(params, training.optimizer.init(params)), step, logits)


def own_model(problem: Problem) -> ViT:
    dtype: Literal["float32", "bfloat16"] = "bfloat16" if problem.dtype == "bfloat16" else "float32"
    return ViT(eps=problem.norm_eps, dtype=dtype, **{name: getattr(problem, name) for name in ARCHITECTURE})


def own_optimizer(problem: Problem) -> AdamW:
    return AdamW(problem.learning_rate, problem.beta1, problem.beta2, problem.adam_eps, problem.weight_decay)
