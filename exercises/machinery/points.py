"""The points at which the exercises are checked: arrays drawn at random, none of which is special."""

from collections.abc import Callable

import numpy as np

from checks.draw import draw_params
from exercises.machinery.exercise import SIZES, Tree
from model.layer import Layer
from verify.layer import draw_input, to_params

B, N, D, HEADS, K, M, C = SIZES.values()
TOKENS = (B, N, D)
IMAGES, P = (B, 12, 10, 3), 60


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
    if name == "tau":
        return rng.uniform(0.5, 2, shape)
    if name in ("targets", "labels"):
        weights = rng.uniform(size=shape)
        return weights / weights.sum(axis=-1, keepdims=True)
    return draw_input(shape, rng)


def layers(**layers: Layer) -> Callable[[np.random.Generator], dict[str, Tree]]:
    def point(rng: np.random.Generator) -> dict[str, Tree]:
        params = {name: to_params(layer, draw_params(layer, rng)) for name, layer in layers.items()}
        return {"x": draw_input(TOKENS, rng), "params": params}

    return point


def kept_tokens(rng: np.random.Generator) -> dict[str, Tree]:
    """Tokens, and the places of those that are kept, in another order and at other places in each image."""
    kept = np.stack([rng.permutation(N)[: N // 2] for _ in range(B)])
    return {"x": draw_input(TOKENS, rng), "kept": kept}


def restored_tokens(rng: np.random.Generator) -> dict[str, Tree]:
    """Some tokens, a mask token, and the places of the tokens, in another order and at other places in each image."""
    kept = np.stack([rng.permutation(N)[: N // 2] for _ in range(B)])
    return {"x": draw_input((B, N // 2, D), rng), "mask_token": draw_input((D,), rng), "kept": kept}


def hidden_patches(rng: np.random.Generator) -> dict[str, Tree]:
    """Predictions, patches of strong and of hardly any contrast, and which are hidden: 2 in one image, 4 in another."""
    contrast = 10.0 ** rng.permuted(np.linspace(-3, 1, N)[None].repeat(B, axis=0), axis=1)[:, :, None]
    ranks = rng.random((B, N)).argsort(axis=1)
    return {
        "y": rng.normal(size=(B, N, M)), "patches": 1 + contrast * rng.normal(size=(B, N, M)),
        "hidden": ranks < np.array([2, 4])[:, None],
    }  # fmt: skip


def adamw(rng: np.random.Generator) -> dict[str, Tree]:
    arrays = {name: rng.normal(size=(D, M)) for name in ("theta", "g", "m")}
    return {**arrays, "v": rng.uniform(size=(D, M)), "t": np.asarray(3.0)}


def muon(rng: np.random.Generator) -> dict[str, Tree]:
    return {name: rng.normal(size=(D, M)) for name in ("theta", "g", "m")}


def gradients(rng: np.random.Generator) -> dict[str, Tree]:
    size = rng.choice([0.01, 1.0])  # a norm below the limit, or above it
    return {"grads": {"W": size * rng.normal(size=(D, M)), "b": size * rng.normal(size=M)}}


def steps(rng: np.random.Generator) -> dict[str, Tree]:
    return {"steps": np.array([0.0, 1, 5, 9, 10, 11, 25, 35, 59, 60, 61, 80])}


def measured_row(rng: np.random.Generator) -> dict[str, Tree]:
    """A row of a size between a thousandth and a thousand, to be differentiated by differences."""
    return {"x": rng.choice([1e-3, 1e-2, 1e2, 1e3]) * rng.normal(size=D), "w": rng.normal(size=D)}


def direction(rng: np.random.Generator) -> dict[str, Tree]:
    """A point, a direction of signs, and a gradient of sum(cos x) that is right or a little off."""
    x, v = rng.normal(size=D), rng.choice([-1.0, 1.0], size=D)
    return {"x": x, "v": v, "a": -np.sin(x) + rng.choice([0.0, 1e-2]) * rng.normal(size=D)}


def row_and_matrix(rng: np.random.Generator) -> dict[str, Tree]:
    return {"x": rng.normal(size=D), "W": _draw("W", (D, M), rng)}


def parameters(rng: np.random.Generator) -> dict[str, Tree]:
    """Parameters before the first update, and after each of 15."""
    return {"start": rng.normal(size=D), "thetas": rng.normal(size=(15, D))}


def batch(rng: np.random.Generator) -> dict[str, Tree]:
    """Eight rows with their targets, and a matrix; the rows are small or large, and so is the gradient."""
    x = rng.choice([0.1, 3.0]) * rng.normal(size=(8, D))
    return {"x": x, "targets": _draw("targets", (8, C), rng), "W": _draw("W", (D, C), rng)}


def attention_weights(rng: np.random.Generator) -> dict[str, Tree]:
    """Of four blocks."""
    exponentials = np.exp(rng.normal(size=(4, B, HEADS, N, N)))
    return {"weights": exponentials / exponentials.sum(axis=-1, keepdims=True)}


def image_and_model(rng: np.random.Generator) -> dict[str, Tree]:
    return {
        "x": rng.normal(size=D), "empty": 0.5 * rng.normal(size=D), "W": _draw("W", (D, M), rng),
        "V": rng.normal(size=(M, C)), "label": np.asarray(rng.integers(C)),
    }  # fmt: skip


def pieces(rng: np.random.Generator) -> dict[str, Tree]:
    """The gradients of four devices, each cut into four pieces of three numbers."""
    return {"gradients": rng.normal(size=(4, 4, 3))}
