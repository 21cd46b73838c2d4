"""Random points to check at: no parameter at its initial value, where zeros and ones hide mistakes."""

import math
from typing import Any

import jax
import numpy as np

from model.layer import Layer
from verify.anatomy import contained, regions
from verify.case import Case, LayerFunction, Tensors, named, template


def draw_params(layer: Layer, rng: np.random.Generator) -> Tensors:
    """Parameters by name: matrices that keep the size of what they multiply, gains around 1, others around 0."""
    return {name: _draw(name, leaf.shape, rng) for name, leaf in named(template(layer)).items()}


def _draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=shape)
    if name.endswith("W"):
        return values / math.sqrt(shape[0])
    return 1 + 0.3 * values if name.endswith(("gamma", "scale")) else 0.5 * values


def draw_input(shape: tuple[int, ...], rng: np.random.Generator, spread: float = 0.5) -> np.ndarray:
    """Normal numbers times a random size for each, so that small and large inputs occur together."""
    return rng.normal(size=shape) * np.exp(spread * rng.normal(size=shape))


def layer_case(
    name: str, layer: Layer, x: tuple[int, ...] | np.ndarray, rng: np.random.Generator, *, train: bool = False,
    sizes: dict[str, float] | None = None, target: str = "",
) -> Case:  # fmt: skip
    """A layer at random parameters; `x` is an input or its shape. With `train`, dropout acts with a fixed mask."""
    tensors: Tensors = draw_params(layer, rng)
    tensors["x"] = x if isinstance(x, np.ndarray) else draw_input(x, rng)
    constants: dict[str, Any] = {"key": jax.random.key(int(rng.integers(1 << 31)))} if train else {}
    shape = tensors["x"].shape
    known = {"B": shape[0]} | ({"N": shape[1], "D": shape[-1]} if len(shape) == 3 else {}) | (sizes or {})
    known["rows"] = math.prod(shape[:-1])
    return Case(
        name, LayerFunction(layer), tensors, constants, known, regions(tensors), target or type(layer).__name__,
        contained(layer),
    )  # fmt: skip
