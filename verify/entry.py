"""What a program calls: `check` for a function and its hand-derived gradient, `check_layer` for an object with `init`,
`forward` and `backward`. Both return a `CaseResult`: `passed`, `verdict`, `tensors` for programs, `str()` for people.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from verify.called import to_numpy
from verify.case import Case, PlainFunction, Regions, Tensors, named
from verify.check import check_case
from verify.errors import CheckError
from verify.layer import Layer, draw_params, layer_case, require_hashable
from verify.measure import Plan
from verify.misuse import (
    lists_explained,
    require_arguments,
    require_like,
    require_methods,
    require_one_argument,
    require_two_arguments,
)
from verify.results import CaseResult
from verify.stateful import attributes_kept


def check(
    f: Callable[[Any], jax.Array], x: Any, analytic: Any, *, seed: int = 0, cotangent: Any = None,
    plan: Plan | None = None, name: str = "f", sizes: dict[str, float] | None = None,
) -> CaseResult:  # fmt: skip
    """Check the gradient of `f` at `x`, a float64 array or a tree of them.

    `f` may compute with JAX, NumPy or PyTorch. It is compiled if JAX can trace it, and called at every point if not.
    `analytic(x, dy)` returns the gradient of `sum(dy * f(x))` as a tree like `x`; where `f` returns one number,
    `analytic` may be the gradient itself. `dy` is drawn from the seed unless `cotangent` gives it. `sizes` are numbers
    that a wrong factor may be made of; the diagnosis names them.

    Raises:
        PrecisionError: anything is not float64, and `plan.any_float` does not allow it.
        CheckError: there is nothing to differentiate, or an argument is of another kind than it should be.
    """
    require_arguments(seed=seed, plan=plan, plan_type=Plan, name=name)
    require_one_argument(f, name)
    if callable(analytic):
        require_two_arguments(analytic)
    given, x = x, jax.tree.map(to_numpy, x)
    for size, value in (sizes or {}).items():
        if not isinstance(value, int | float) or not value:
            raise CheckError(f"sizes: {size} is {value!r}: give numbers other than 0")

    def gradient(x: Any, dy: jax.Array) -> Any:
        if callable(analytic):
            return require_like(analytic(x, dy), x, "analytic returned {found}, but x is {expected}")
        if dy.shape != ():
            raise CheckError(f"{name} returns an array: give analytic(x, dy), a function of x and the cotangent")
        return jax.tree.map(lambda leaf: dy * leaf, analytic)

    case = Case(name, PlainFunction(lambda x: f(x), gradient, jax.tree.structure(x)), named(x), sizes=sizes or {})
    with lists_explained(name, given):
        return check_case(case, seed, plan, cotangent=cotangent)


def check_layer(
    layer: Layer, x: Any, seed: int = 0, *, train: bool = False, plan: Plan | None = None,
    regions: Callable[[Tensors], Regions] | None = None,
) -> CaseResult:  # fmt: skip
    """Check a layer's `backward` at random parameters.

    `layer` is any hashable object with `init(key) -> params`, `forward(params, x, key) -> (y, cache)` and
    `backward(params, cache, dy) -> (dx, grads)`. The parameters are those of `init` plus noise.

    `x` is the shape of a random input, as in `(3, 9, 12)`, or an array; one of integers is not differentiated. Several
    inputs are a tuple, as in `((3, 4), np.array([1, 0, 2]))` for `forward(params, a, b, key)`. Then `dx` is a tuple as
    well, with None for integers.

    With `train` the layer gets a PRNG key, so that dropout acts, with the same mask throughout. `regions(tensors)`
    names the parts of tensors that are judged separately, as in `{"qkv/b": (("queries", (slice(0, 8),)), ...)}`.

    Raises:
        PrecisionError: anything is not float64, and `plan.any_float` does not allow it.
        CheckError: there is nothing to differentiate, or the layer cannot be checked.
    """
    require_arguments(seed=seed, plan=plan, plan_type=Plan, regions=regions)
    require_methods(layer)
    rng, name = np.random.default_rng(seed), type(layer).__name__
    require_hashable(name, layer)
    with attributes_kept(layer):
        case = layer_case(name, layer, draw_params(layer, rng), x, rng, train=train, regions=regions)
        return check_case(case, seed, plan)
