"""Checking one layer of this project from Python."""

import numpy as np

from checks.draw import layer_case
from model.layer import Layer
from verify import CaseResult, Plan, check_case


def check_layer(
    layer: Layer, x: tuple[int, ...] | np.ndarray, seed: int = 0, *, train: bool = False, plan: Plan | None = None
) -> CaseResult:
    """`verify.check_layer` for a layer of this project: at parameters of its own kind, and with the queries', keys' and
    values' thirds of a `qkv` projection judged separately.

    Raises:
        PrecisionError, CheckError: as `verify.check_layer`.
    """
    name = type(layer).__name__
    return check_case(layer_case(name, layer, x, np.random.default_rng(seed), train=train), seed, plan)
