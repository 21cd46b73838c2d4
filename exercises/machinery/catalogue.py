"""The exercises, in the order in which the layers build on each other. None requires another."""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from checks.draw import draw_params
from exercises.machinery.answers import FOLDER, load_answer
from exercises.machinery.exercise import SIZES, Exercise, Invariant, Tree, flatten
from exercises.machinery.runner import load
from model.layer import Layer
from model.layers.dense import Dense
from model.layers.feed_forward import FeedForward
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention
from verify.layer import draw_input, to_params

B, N, D, HEADS, K, M, C = SIZES.values()
TOKENS = (B, N, D)
IMAGES, PATCHES, P = (B, 12, 10, 3), 6, 60


def drawn(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], dict[str, Tree]]:
    """A function that draws arrays of these shapes: matrices that preserve the variance of x, gains around 1."""

    def point(rng: np.random.Generator) -> dict[str, Tree]:
        return {name: _draw(name, shape, rng) for name, shape in shapes.items()}

    return point


def _draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if name.startswith("W"):
        return rng.normal(size=shape) / np.sqrt(shape[0])
    if name == "gamma":
        return 1 + 0.3 * rng.normal(size=shape)
    if name == "mask":
        return np.arange(np.prod(shape)).reshape(shape) % 3 % 2 * 1.0  # 0 1 0, 0 1 0, ...
    if name in ("targets", "labels"):
        weights = rng.uniform(size=shape)
        return weights / weights.sum(axis=-1, keepdims=True)
    return draw_input(shape, rng)


def _layers(**layers: Layer) -> Callable[[np.random.Generator], dict[str, Tree]]:
    def point(rng: np.random.Generator) -> dict[str, Tree]:
        params = {name: to_params(layer, draw_params(layer, rng)) for name, layer in layers.items()}
        return {"x": draw_input(TOKENS, rng), "params": params}

    return point


def _adamw(rng: np.random.Generator) -> dict[str, Tree]:
    arrays = {name: rng.normal(size=(D, M)) for name in ("theta", "g", "m")}
    return {**arrays, "v": rng.uniform(size=(D, M)), "t": np.asarray(3.0)}


def _muon(rng: np.random.Generator) -> dict[str, Tree]:
    return {name: rng.normal(size=(D, M)) for name in ("theta", "g", "m")}


def _gradients(rng: np.random.Generator) -> dict[str, Tree]:
    size = rng.choice([0.01, 1.0])  # a norm below the limit, or above it
    return {"grads": {"W": size * rng.normal(size=(D, M)), "b": size * rng.normal(size=M)}}


def _steps(rng: np.random.Generator) -> dict[str, Tree]:
    return {"steps": np.array([0.0, 1, 5, 9, 10, 11, 25, 35, 59, 60, 61, 80])}


def _sums_to_zero(tensor: str, words: str, axis: int) -> Invariant:
    return Invariant(tensor, f"sum over the {words} of {tensor}", lambda _, dy, g: g[tensor].sum(axis=axis))


def _along_xhat(arguments: dict[str, Any], dy: Any, gradients: dict[str, Any]) -> Any:
    x = arguments["x"]
    xhat = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    return (gradients["dx"] * xhat).sum(-1)


EMBEDDED = drawn(images=IMAGES, W=(P, D), b=(D,))
HEADWISE = (B, HEADS, N, K)
BLOCK = _layers(norm_1=LayerNorm(D), attention=MultiHeadAttention(D, HEADS), norm_2=LayerNorm(D),
                feed_forward=FeedForward(D, M))  # fmt: skip

EXERCISES = (
    Exercise(
        "circuit", "The chain rule on numbers, one of which is used twice", drawn(a=(B,), b=(B,), c=(B,)),
        ("a", "b", "c"),
    ),
    Exercise(
        "matrix_product", "The gradients of both factors of a matrix product", drawn(A=(N, D), B=(D, M)), ("A", "B"),
        incoming="dZ",
    ),
    Exercise("dense_input", "Dense: the gradient of the input", drawn(x=TOKENS, W=(D, M), b=(M,)), ("x",)),
    Exercise(
        "dense_parameters", "Dense: the gradients of weights and bias", drawn(x=TOKENS, W=(D, M), b=(M,)), ("W", "b")
    ),
    Exercise("gelu_tanh", "GELU, tanh form", drawn(x=TOKENS), ("x",)),
    Exercise("gelu_erf", "GELU, exact form", drawn(x=TOKENS), ("x",)),
    Exercise(
        "softmax", "Softmax", drawn(scores=(B, N, C)), ("scores",),
        (_sums_to_zero("dscores", "last axis", -1),), incoming="dp",
    ),
    Exercise(
        "cross_entropy", "Cross entropy", drawn(logits=(B, C), targets=(B, C)), ("logits",),
        (_sums_to_zero("dlogits", "classes", -1),), incoming="dloss",
    ),
    Exercise(
        "label_smoothing", "Cross entropy with label smoothing", drawn(logits=(B, C), labels=(B, C)), ("logits",),
        (_sums_to_zero("dlogits", "classes", -1),), incoming="dloss",
    ),
    Exercise(
        "layer_norm", "Layer normalization", drawn(x=TOKENS, gamma=(D,), beta=(D,)), ("x", "gamma", "beta"),
        (
            _sums_to_zero("dx", "features", -1),
            Invariant("dx", "product of dx and xhat, summed over the features,", _along_xhat),
        ),
    ),
    Exercise("residual", "Fan-out: gradients from several uses add up", drawn(x=TOKENS, W=(D, D)), ("x", "W")),
    Exercise(
        "sequential", "Layers one after another",
        _layers(first=Dense(D, D), norm=LayerNorm(D), last=Dense(D, D)), ("x", "params"),
    ),
    Exercise(
        "dropout", "Dropout", drawn(x=TOKENS, mask=TOKENS), ("x",),
        (Invariant("dx", "dx where an element was dropped", lambda a, dy, g: g["dx"] * (1 - a["mask"])),),
    ),
    Exercise(
        "drop_path", "Drop path", drawn(x=TOKENS, branch=TOKENS, mask=(B, 1, 1)), ("x", "branch"),
        (Invariant("dbranch", "dbranch where an image's branch was dropped",
                   lambda a, dy, g: g["dbranch"] * (1 - a["mask"])),),
    ),
    Exercise(
        "layer_scale", "LayerScale: a gain at the end of a branch", drawn(x=TOKENS, branch=TOKENS, gamma=(D,)),
        ("x", "branch", "gamma"),
    ),
    Exercise("patch_embedding", "Patch embedding", EMBEDDED, ("images", "W", "b")),
    Exercise(
        "class_token", "Class token and positions", drawn(x=(B, N - 1, D), class_token=(D,), positions=(N, D)),
        ("x", "class_token", "positions"),
    ),
    Exercise(
        "mean_pooling", "Mean pooling", drawn(x=TOKENS), ("x",),
        (
            Invariant("dx", "dx at the class token", lambda a, dy, g: g["dx"][:, 0]),
            Invariant("dx", "sum over the tokens of dx, minus dy,", lambda a, dy, g: g["dx"].sum(1) - dy),
        ),
    ),
    Exercise(
        "attention", "Scaled dot-product attention", drawn(q=HEADWISE, k=HEADWISE, v=HEADWISE), ("q", "k", "v"),
        (
            _sums_to_zero("dk", "tokens", -2),
            Invariant("dv", "sum over the tokens of dv, minus that of dy,", lambda a, dy, g: (g["dv"] - dy).sum(-2)),
        ),
    ),
    Exercise(
        "split_heads", "Splitting queries, keys and values into heads", drawn(qkv=(B, N, 3 * D)), ("qkv",),
        incoming="dparts",
    ),
    Exercise("merge_heads", "Merging the heads", drawn(heads=HEADWISE), ("heads",), incoming="dmerged"),
    Exercise(
        "multi_head_attention", "Multi-head attention",
        drawn(x=TOKENS, W_qkv=(D, 3 * D), b_qkv=(3 * D,), W_out=(D, D), b_out=(D,)),
        ("x", "W_qkv", "b_qkv", "W_out", "b_out"),
        (Invariant("db_qkv", "gradient of the keys' bias", lambda a, dy, g: g["db_qkv"][D : 2 * D]),),
    ),
    Exercise(
        "feed_forward", "Feed-forward", drawn(x=TOKENS, W_1=(D, M), b_1=(M,), W_2=(M, D), b_2=(D,)),
        ("x", "W_1", "b_1", "W_2", "b_2"),
    ),
    Exercise("pre_norm_block", "A pre-norm encoder block", BLOCK, ("x", "params")),
    Exercise("post_norm_block", "A post-norm encoder block", BLOCK, ("x", "params")),
    Exercise("adamw", "AdamW", _adamw, ("theta", "m", "v"), function="update"),
    Exercise("muon", "Muon", _muon, ("theta", "m"), function="update"),
    Exercise("clipping", "Clipping by global norm", _gradients, ("clipped",), function="clip"),
    Exercise("schedule", "A learning rate schedule", _steps, ("rates",), function="learning_rate"),
)  # fmt: skip


def solution_module(name: str) -> ModuleType:
    """The reader's file with the solution in it, as a module."""
    return load(load_answer(name).source, FOLDER / f"{name}.rot13")


def shapes(exercise: Exercise) -> list[str]:
    """A table of what is given, what is cached and what is asked for, with the shapes of an actual forward."""
    arguments = exercise.arguments()
    rows = [("given", name, leaf) for name, leaf in flatten(arguments).items()]
    if exercise.is_backward:
        y, cache = jax.eval_shape(solution_module(exercise.name).forward, *arguments.values())
        cached = cache._asdict() if hasattr(cache, "_asdict") else {"cache": cache}
        rows += [("cached", f"cache.{name}", leaf) for name, leaf in flatten(cached).items()]
        rows += [("comes in", exercise.incoming, y)]
        asked: dict[str, Any] = {f"d{name}": arguments[name] for name in exercise.wanted}
    else:
        returned = jax.eval_shape(getattr(solution_module(exercise.name), exercise.function), *arguments.values())
        values = returned if isinstance(returned, tuple) and len(exercise.wanted) > 1 else (returned,)
        asked = dict(zip(exercise.wanted, values, strict=True))
    rows += [("asked for", name, leaf) for name, leaf in flatten(asked).items()]
    width = max(len(name) for _, name, _ in rows)
    used = _sizes_of(exercise, {size for _, _, leaf in rows for size in jnp.shape(leaf)})
    sizes = ", ".join(f"{name}={size}" for name, size in used.items())
    lines = [f"{what:<10} {name:<{width}}  {jnp.shape(leaf)}" for what, name, leaf in rows]
    given = f"cache, {exercise.incoming}" if exercise.is_backward else ", ".join(arguments)
    return [f"{exercise.title}{f'. Sizes: {sizes}' if sizes else ''}", "", *lines, "",
            f"{exercise.function}({given}) -> {', '.join(exercise.returns)}"]  # fmt: skip


def _sizes_of(exercise: Exercise, dimensions: set[int]) -> dict[str, int]:
    """The sizes that occur in the exercise: by letter in its file, and by value in its shapes (3 D for qkv)."""
    letters = set(re.findall(r"\w+", load_answer(exercise.name).stub))
    if letters & {"H", "HEADS"}:
        letters |= {"HEADS", "K"}
    return {name: size for name, size in SIZES.items() if name in letters and {size, 3 * size} & dimensions}
