"""Verdicts where rounding is at its worst: saturated, tiny, huge and trained points, right and wrong gradients.

    python -m benchmarks.extremes --seeds 100

Each row of the table is one kind of point, drawn anew from each seed and checked with the right gradient. At every
fifth it is also checked with a gradient that is 5% too large, and with one that is wrong in a single coordinate, by a
thousandth of the largest. A right gradient must not be called wrong, and a wrong one must not pass. (docs/gradcheck.md)
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from checks.full_size import Point, random_point
from checks.functions import LossFunction, ModelFunction
from model.encoder import EncoderBlock
from model.layer import Layer
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.dense import Dense
from model.layers.feed_forward import FeedForward
from model.layers.gelu import GELU
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import PatchEmbedding
from model.layers.softmax import Softmax
from model.loss import CrossEntropy
from model.vit import ViT
from verify import Plan, check_case
from verify.case import Case, Function, Tensors
from verify.layer import draw_params, layer_case

KINDS = ("right", "5% too large", "one wrong coordinate")
PLAN = Plan(coordinates=8)
"""The coordinate with the largest gradient of each tensor and others at random; directions see the rest."""
MODEL = ViT(image_size=4, patch_size=2, d_model=8, heads=2, layers=2, mlp_dim=6, num_classes=3)
LOSSES = (5.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
EVERY = 5  # seeds, one is checked with the mistakes
MOST_STEPS = 20_000  # of training, to the last of these losses


@dataclass(frozen=True)
class Mistaken:
    """A function with a wrong gradient."""

    function: Function
    kind: str

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        return self.function.value(tensors, constants)

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        gradient = self.function.gradient(tensors, constants, dy)
        if self.kind == KINDS[1]:
            return {name: 1.05 * array for name, array in gradient.items()}
        return {name: _one_off(array) for name, array in gradient.items()}


def _one_off(array: jax.Array) -> jax.Array:
    """One number in the middle changed by a thousandth of the largest."""
    flat = jnp.ravel(array)
    return flat.at[flat.size // 2].add(1e-3 * jnp.abs(flat).max()).reshape(jnp.shape(array))


Make = Callable[[int], Case]


def points() -> Iterator[tuple[str, Make]]:
    """Every kind of point, by name, with a function that draws it from a seed."""
    for margin in (5, 15, 20, 30, 36, 40, 100, 800):
        yield f"cross entropy, margin {margin}", partial(_loss, margin=margin)
        yield f"softmax, margin {margin}", partial(_softmax, margin=margin)
    for form in ("tanh", "erf"):
        for x in (-1e4, -100.0, -37.0, -20.0, -10.0, -7.0, -6.0, -5.0, 20.0, 1e30, 1e-160):
            yield f"GELU ({form}) at {x:g}", partial(_gelu, form=form, x=x)
    layers: tuple[tuple[str, Layer, tuple[int, ...]], ...] = (
        ("dense", Dense(6, 4), (2, 5, 6)),
        ("layer norm", LayerNorm(6), (2, 5, 6)),
        ("feed-forward", FeedForward(6, 8), (2, 5, 6)),
        ("attention", MultiHeadAttention(6, 2), (2, 5, 6)),
        ("attention, local", MultiHeadAttention(6, 2, learned_temperature=True, masked_diagonal=True), (2, 5, 6)),
        ("class-token attention", ClassTokenAttention(6, 2), (2, 5, 6)),
        ("patch embedding", PatchEmbedding((4, 4), (2, 2), 3, 6, norm_before=True), (2, 4, 4, 3)),
        ("encoder block", EncoderBlock(MultiHeadAttention(6, 2), FeedForward(6, 8), LayerNorm(6)), (2, 5, 6)),
    )
    for name, layer, shape in layers:
        for size in (1e-160, 1e-12, 1e-6, 1e-3, 10.0, 30.0, 1e4, 1e8):
            yield f"{name}, inputs of size {size:g}", partial(_layer, layer=layer, shape=shape, size=size)
    for loss in LOSSES:
        yield f"model at a loss of {loss:g}", partial(_model, loss=loss)


def _loss(seed: int, margin: float) -> Case:
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=3)
    logits = rng.normal(size=(3, 5)) + margin * np.eye(5)[labels]
    return Case("loss", LossFunction(CrossEntropy()), {"logits": logits}, {"labels": labels})


def _softmax(seed: int, margin: float) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 5)) + margin * np.eye(5)[rng.integers(5, size=3)]
    return layer_case("softmax", Softmax(), {}, x, rng)


def _gelu(seed: int, form: str, x: float) -> Case:
    rng = np.random.default_rng(seed)
    return layer_case("gelu", GELU(form), {}, x * (1 + 0.1 * rng.normal(size=(3, 4))), rng)  # type: ignore[arg-type]


def _layer(seed: int, layer: Layer, shape: tuple[int, ...], size: float) -> Case:
    rng = np.random.default_rng(seed)
    return layer_case("layer", layer, draw_params(layer, rng), size * rng.normal(size=shape), rng)


def _model(seed: int, loss: float) -> Case:
    point = _trained(seed)[loss]
    tensors = {**point.params, "images": point.images}
    return Case("model", ModelFunction(point.model, point.loss), tensors, point.constants)


@lru_cache(maxsize=2)
def _trained(seed: int) -> dict[float, Point]:
    """A small model at each of `LOSSES`, on its way from a random point that is wrong with confidence."""
    start = random_point(MODEL, CrossEntropy(), seed, batch=3)
    params = {name: jnp.asarray(2 * a if name.startswith("head") else a) for name, a in start.params.items()}
    squares = {name: jnp.zeros_like(array) for name, array in params.items()}
    found: dict[float, Point] = {}
    for _ in range(MOST_STEPS):
        value, moved, squares = _step(params, squares, start.images, start.labels)
        reached = [loss for loss in LOSSES if loss not in found and (value < loss or loss == LOSSES[0])]
        if reached:
            point = replace(start, params={name: np.asarray(array) for name, array in params.items()})
            found |= dict.fromkeys(reached, point)
        if len(found) == len(LOSSES):
            return found
        params = moved
    raise RuntimeError(f"seed {seed}: the loss is still {value}")


@jax.jit
def _step(
    params: Tensors, squares: Tensors, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, Tensors, Tensors]:
    """RMSProp on three images, with a hand-derived gradient."""
    function = ModelFunction(MODEL, CrossEntropy())
    tensors, constants = {**params, "images": images}, {"labels": labels}
    value, gradient = function.value(tensors, constants), function.gradient(tensors, constants, jnp.asarray(1.0))
    squares = {name: 0.9 * square + 0.1 * gradient[name] ** 2 for name, square in squares.items()}
    moved = {name: p - 0.01 * gradient[name] / (jnp.sqrt(squares[name]) + 1e-12) for name, p in params.items()}
    return value, moved, squares


def verdicts(make: Make, seeds: range) -> dict[str, Counter[str]]:
    """By kind of gradient, how often each verdict was given."""
    found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for seed in seeds:
        case = make(seed)
        for kind in KINDS[: None if seed % EVERY == 0 else 1]:
            planted = case if kind == KINDS[0] else replace(case, function=Mistaken(case.function, kind))
            found[kind][check_case(planted, seed, PLAN).verdict] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extremes", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="points of each kind (3)")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds of points whose name contains this")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    start, failures, total = time.perf_counter(), 0, 0
    print("| point | right: pass, inconclusive, **wrong** | 5% too large: caught, inconclusive, **pass** | one wrong |")
    print("|---|---|---|---|")
    for name, make in points():
        if args.only not in name:
            continue
        found = verdicts(make, range(args.seeds))
        right, *mistaken = (found[kind] for kind in KINDS)
        cells = [f"{right['pass']}, {right['inconclusive']}, {right['wrong']}"]
        cells += [f"{wrong['wrong']}, {wrong['inconclusive']}, {wrong['pass']}" for wrong in mistaken]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        failures += right["wrong"] + sum(wrong["pass"] for wrong in mistaken)
        total += sum(sum(counter.values()) for counter in found.values())
    print(f"\n{total:,} checks, {failures} false verdicts, {time.perf_counter() - start:.0f} s, JAX {jax.__version__}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
