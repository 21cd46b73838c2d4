"""The same model in Flax NNX, from its own modules: Conv, MultiHeadAttention, LayerNorm, Linear."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.conventional import optax_adamw
from benchmarks.contestants.on_jax import JaxProgram, run_on_jax
from benchmarks.contestants.problem import Params, Problem


class Block(nnx.Module):
    def __init__(self, problem: Problem, dtype: Any, rngs: nnx.Rngs) -> None:
        D, M = problem.d_model, problem.mlp_dim
        self.norm1 = nnx.LayerNorm(D, epsilon=problem.norm_eps, dtype=dtype, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(problem.heads, D, decode=False, dtype=dtype, rngs=rngs)
        self.norm2 = nnx.LayerNorm(D, epsilon=problem.norm_eps, dtype=dtype, rngs=rngs)
        self.expand = nnx.Linear(D, M, dtype=dtype, rngs=rngs)
        self.project = nnx.Linear(M, D, dtype=dtype, rngs=rngs)
        self.tanh = problem.gelu == "tanh"

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x))
        return x + self.project(nnx.gelu(self.expand(self.norm2(x)), approximate=self.tanh))


class FlaxViT(nnx.Module):
    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        D, self.dtype = problem.d_model, jnp.dtype(problem.dtype)
        size = problem.patch_size
        self.patch = nnx.Conv(problem.channels, D, size, strides=size, padding="VALID", dtype=self.dtype, rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros(D))
        self.positions = nnx.Param(jnp.zeros((problem.tokens, D)))
        self.blocks = nnx.List([Block(problem, self.dtype, rngs) for _ in range(problem.layers)])
        self.norm = nnx.LayerNorm(D, epsilon=problem.norm_eps, dtype=self.dtype, rngs=rngs)
        self.head = nnx.Linear(D, problem.num_classes, dtype=self.dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.patch(images)  # (B, rows, columns, D)
        B, D = len(images), x.shape[-1]
        x = x.reshape(B, -1, D)
        token = jnp.broadcast_to(self.class_token[...].astype(self.dtype), (B, 1, D))
        x = jnp.concatenate([token, x], axis=1) + self.positions[...].astype(self.dtype)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0]).astype(jnp.float32)


def build(name: str, problem: Problem, params: Params) -> Contestant:
    return run_on_jax(problem, lambda platform: program(problem, params))


def program(problem: Problem, params: Params) -> JaxProgram:
    """The modules are split once and merged inside `jax.jit`, as Flax's performance guide advises: `nnx.jit` would walk
    them in Python at every call."""
    model = FlaxViT(problem, nnx.Rngs(0))
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, from_engine(params, problem))
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


def from_engine(params: Params, problem: Problem) -> Params:
    """The engine's parameters under Flax's names and in its shapes, which have a separate axis for the heads."""
    D, H = problem.d_model, problem.heads

    def linear(dense: Params) -> Params:
        return {"kernel": dense["W"], "bias": dense["b"]}

    def norm(layer_norm: Params) -> Params:
        return {"scale": layer_norm["gamma"], "bias": layer_norm["beta"]}

    def attention(params: Params) -> Params:
        W = params["qkv"]["W"].reshape(D, 3, H, D // H)
        b = params["qkv"]["b"].reshape(3, H, D // H)
        out = {"kernel": params["out"]["W"].reshape(H, D // H, D), "bias": params["out"]["b"]}
        projections = {name: {"kernel": W[:, i], "bias": b[i]} for i, name in enumerate(("query", "key", "value"))}
        return projections | {"out": out}

    def block(params: Params) -> Params:
        inner, feed_forward = params["attention"], params["feed_forward"]
        return {
            "norm1": norm(inner["norm"]),
            "attention": attention(inner["attention"]),
            "norm2": norm(feed_forward["norm"]),
            "expand": linear(feed_forward["feed_forward"]["expand"]),
            "project": linear(feed_forward["feed_forward"]["project"]),
        }

    patch = params["patch_embedding"]["project"]
    return {
        "patch": {"kernel": patch["W"].reshape(*problem.patch_size, problem.channels, D), "bias": patch["b"]},
        "class_token": params["position_embedding"]["class_token"],
        "positions": params["position_embedding"]["positions"],
        "blocks": {i: block(params["encoder"][f"block_{i}"]) for i in range(problem.layers)},
        "norm": norm(params["norm"]),
        "head": linear(params["head"]),
    }
