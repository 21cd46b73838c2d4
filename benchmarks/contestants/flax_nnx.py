"""The same model in Flax NNX, from its own modules: Conv, MultiHeadAttention, LayerNorm, Linear.

They have the names of google-research/vision_transformer, so that the parameters come by the table of model/weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.conventional import optax_adamw
from benchmarks.contestants.on_jax import JaxProgram, run_on_jax
from benchmarks.contestants.own import named_params
from benchmarks.contestants.problem import Params, Problem


class FeedForward(nnx.Module):
    def __init__(self, problem: Problem, dtype: Any, rngs: nnx.Rngs) -> None:
        D, M = problem.d_model, problem.mlp_dim
        self.Dense_0 = nnx.Linear(D, M, dtype=dtype, rngs=rngs)
        self.Dense_1 = nnx.Linear(M, D, dtype=dtype, rngs=rngs)
        self.tanh = problem.gelu == "tanh"

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.Dense_1(nnx.gelu(self.Dense_0(x), approximate=self.tanh))


class Block(nnx.Module):
    def __init__(self, problem: Problem, dtype: Any, rngs: nnx.Rngs) -> None:
        D, H = problem.d_model, problem.heads
        self.LayerNorm_0 = nnx.LayerNorm(D, epsilon=problem.norm_eps, dtype=dtype, rngs=rngs)
        self.MultiHeadDotProductAttention_1 = nnx.MultiHeadAttention(H, D, decode=False, dtype=dtype, rngs=rngs)
        self.LayerNorm_2 = nnx.LayerNorm(D, epsilon=problem.norm_eps, dtype=dtype, rngs=rngs)
        self.MlpBlock_3 = FeedForward(problem, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.MultiHeadDotProductAttention_1(self.LayerNorm_0(x))
        return x + self.MlpBlock_3(self.LayerNorm_2(x))


class Positions(nnx.Module):
    def __init__(self, problem: Problem) -> None:
        self.pos_embedding = nnx.Param(jnp.zeros((1, problem.tokens, problem.d_model)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.pos_embedding[...].astype(x.dtype)


class Encoder(nnx.Module):
    def __init__(self, problem: Problem, dtype: Any, rngs: nnx.Rngs) -> None:
        self.posembed_input = Positions(problem)
        self.names = tuple(f"encoderblock_{i}" for i in range(problem.layers))
        for name in self.names:
            setattr(self, name, Block(problem, dtype, rngs))
        self.encoder_norm = nnx.LayerNorm(problem.d_model, epsilon=problem.norm_eps, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.posembed_input(x)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.encoder_norm(x)


class FlaxViT(nnx.Module):
    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        D, size, dtype = problem.d_model, problem.patch_size, jnp.dtype(problem.dtype)
        self.embedding = nnx.Conv(problem.channels, D, size, strides=size, padding="VALID", dtype=dtype, rngs=rngs)
        self.cls = nnx.Param(jnp.zeros((1, 1, D)))
        self.Transformer = Encoder(problem, dtype, rngs)
        self.head = nnx.Linear(D, problem.num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.embedding(images)  # (B, rows, columns, D)
        B, D = len(images), x.shape[-1]
        token = jnp.broadcast_to(self.cls[...].astype(x.dtype), (B, 1, D))
        x = self.Transformer(jnp.concatenate([token, x.reshape(B, -1, D)], axis=1))
        return self.head(x[:, 0]).astype(jnp.float32)


def build(name: str, problem: Problem, params: Params) -> Contestant:
    return run_on_jax(problem, lambda platform: program(problem, params))


def program(problem: Problem, params: Params) -> JaxProgram:
    """The modules are split once and merged inside `jax.jit`, as Flax's performance guide advises: `nnx.jit` would walk
    them in Python at every call."""
    model = FlaxViT(problem, nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, nested(named_params("google", problem, params)))
    nnx.update(model, state)
    graph, start = nnx.split((model, nnx.Optimizer(model, optax_adamw(problem), wrt=nnx.Param)))

    def step(state: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
        model, optimizer = nnx.merge(graph, state)

        def loss_of(model: FlaxViT) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

        loss, grads = nnx.value_and_grad(loss_of)(model)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), loss

    def logits(state: Any, images: jax.Array) -> jax.Array:
        model, _ = nnx.merge(graph, state)
        return model(images)

    return JaxProgram(start, step, logits)


def nested(arrays: dict[str, np.ndarray]) -> Params:
    """The tree of arrays whose names are paths, joined by "/"."""
    tree: Params = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = array
    return tree
