"""A Vision Transformer as it is usually written in JAX: functions of jax.nn, `jax.value_and_grad`, Optax.

Matrix products are in float32 or bfloat16. Layer norms, softmax and loss are in float32, as is customary.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.contestants.contract import Contestant
from benchmarks.contestants.on_jax import JaxProgram, run_on_jax
from benchmarks.contestants.problem import Params, Problem


def build(name: str, problem: Problem, params: Params) -> Contestant:
    optimizer = optax_adamw(problem)

    def step(state: tuple, images: jax.Array, labels: jax.Array) -> tuple[tuple, jax.Array]:
        params, moments = state
        loss, grads = jax.value_and_grad(loss_of)(params, images, labels, problem)
        updates, moments = optimizer.update(grads, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    def logits(state: tuple, images: jax.Array) -> jax.Array:
        return forward(state[0], images, problem)

    def program(platform: str) -> JaxProgram:
        start = from_engine(jax.tree.map(jnp.asarray, params), problem)
        return JaxProgram((start, optimizer.init(start)), step, logits)

    return run_on_jax(problem, program)


def optax_adamw(problem: Problem) -> optax.GradientTransformation:
    return optax.adamw(
        problem.learning_rate,
        b1=problem.beta1,
        b2=problem.beta2,
        eps=problem.adam_eps,
        weight_decay=problem.weight_decay,
        mask=decay_mask,
    )


def loss_of(params: Params, images: jax.Array, labels: jax.Array, problem: Problem) -> jax.Array:
    logp = jax.nn.log_softmax(forward(params, images, problem))
    return -jnp.take_along_axis(logp, labels[:, None], axis=-1).mean()


def forward(params: Params, images: jax.Array, problem: Problem) -> jax.Array:
    """Logits (B, C) of images (B, H, W, C)."""
    dtype = jnp.bfloat16 if problem.dtype == "bfloat16" else images.dtype
    x = embed(params, images, problem, dtype)
    for block in params["blocks"]:
        x = encoder_block(block, x, problem, dtype)
    x = layer_norm(params["norm"], x, problem.norm_eps)
    return dense(params["head"], x[:, 0], dtype).astype(params["norm"]["scale"].dtype)


def embed(params: Params, images: jax.Array, problem: Problem, dtype: Any) -> jax.Array:
    """Tokens (B, N, D): the class token, then the patches, plus positions."""
    B = len(images)
    (H, W), (h, w) = problem.image_size, problem.patch_size
    patches = images.reshape(B, H // h, h, W // w, w, -1).swapaxes(2, 3).reshape(B, problem.patches, -1)
    x = dense(params["patch"], patches, dtype)
    token = jnp.broadcast_to(params["class_token"], (B, 1, problem.d_model))
    return jnp.concatenate([token.astype(dtype), x], axis=1) + params["positions"].astype(dtype)


def encoder_block(params: Params, x: jax.Array, problem: Problem, dtype: Any) -> jax.Array:
    normed = layer_norm(params["norm1"], x, problem.norm_eps)
    x = x + attention(params["attention"], normed, problem.heads, dtype)
    hidden = dense(params["expand"], layer_norm(params["norm2"], x, problem.norm_eps), dtype)
    return x + dense(params["project"], jax.nn.gelu(hidden, approximate=problem.gelu == "tanh"), dtype)


def dense(params: Params, x: jax.Array, dtype: Any) -> jax.Array:
    return jnp.dot(x.astype(dtype), params["kernel"].astype(dtype)) + params["bias"].astype(dtype)


def layer_norm(params: Params, x: jax.Array, eps: float) -> jax.Array:
    wide = x.astype(params["scale"].dtype)
    mean, var = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
    return ((wide - mean) * jax.lax.rsqrt(var + eps) * params["scale"] + params["bias"]).astype(x.dtype)


def attention(params: Params, x: jax.Array, heads: int, dtype: Any) -> jax.Array:
    B, N, D = x.shape
    qkv = dense(params["qkv"], x, dtype).reshape(B, N, 3, heads, D // heads)
    # On a CPU as fast as two einsums around jax.nn.softmax, and the same temporary memory: baseline, forward and
    # backward, median of 6 in turn on two cores, 1.02 s against 1.00 s, spread 10% (2026-11-21).
    mixed = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])  # (B, N, H, K)
    return dense(params["out"], mixed.reshape(B, N, D), dtype)


def from_engine(params: Params, problem: Problem) -> Params:
    """The engine's parameters (or gradients) under the names of this model; the arrays have the same layout."""

    def kernel(dense: Params) -> Params:
        return {"kernel": dense["W"], "bias": dense["b"]}

    def scale(norm: Params) -> Params:
        return {"scale": norm["gamma"], "bias": norm["beta"]}

    def block(params: Params) -> Params:
        attention, feed_forward = params["attention"], params["feed_forward"]
        return {
            "norm1": scale(attention["norm"]),
            "attention": {name: kernel(attention["attention"][name]) for name in ("qkv", "out")},
            "norm2": scale(feed_forward["norm"]),
            "expand": kernel(feed_forward["feed_forward"]["expand"]),
            "project": kernel(feed_forward["feed_forward"]["project"]),
        }

    return {
        "patch": kernel(params["patch_embedding"]["project"]),
        "class_token": params["position_embedding"]["class_token"],
        "positions": params["position_embedding"]["positions"],
        "blocks": [block(params["encoder"][f"block_{i}"]) for i in range(problem.layers)],
        "norm": scale(params["norm"]),
        "head": kernel(params["head"]),
    }


def decay_mask(params: Any) -> Any:
    """True for the weight matrices, on which weight decay acts."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "kernel" in jax.tree_util.keystr(path), params)
