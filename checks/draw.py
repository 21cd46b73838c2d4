"""Random points to check at: no parameter at its initial value, where zeros and ones hide mistakes."""

import math

import numpy as np

from checks.structure import classes_inside, qkv_regions
from model.layer import Layer
from verify.case import Case, Tensors, named
from verify.layer import HasParameters, template
from verify.layer import layer_case as any_layer_case


def draw_params(layer: HasParameters, rng: np.random.Generator) -> Tensors:
    """Parameters by name: weight matrices preserve the scale of their input; gains lie around 1, the rest around 0."""
    return {name: _draw(name, leaf.shape, rng) for name, leaf in named(template(layer)).items()}


def _draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=shape)
    if name.endswith("W"):
        return values / math.sqrt(shape[0])
    return 1 + 0.3 * values if name.endswith(("gamma", "scale")) else 0.5 * values


def layer_case(
    name: str, layer: Layer, x: tuple[int, ...] | np.ndarray, rng: np.random.Generator, *, train: bool = False,
    sizes: dict[str, float] | None = None, target: str = "",
) -> Case:  # fmt: skip
    """A layer of this project at random parameters; `x` is an input or its shape. With `train`, dropout acts."""
    return any_layer_case(
        name, layer, draw_params(layer, rng), x, rng, train=train, sizes=sizes, regions=qkv_regions, target=target,
        contains=classes_inside(layer),
    )  # fmt: skip
