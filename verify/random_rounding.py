"""How far rounding alone may put a result off: the same computation, with every operation rounded differently.

    r(x) = x (1 + s eps),   s = +-1                                                                     (ROUND.1)

stands after each operation that rounds, and before each sum, whose terms are rounded one by one. The sign `s` is a hash
of the bits of x and of a seed, so that equal numbers stay equal, as they do in the hardware. The spread of the result
over some seeds is its rounding error, however it came about: also where a difference such as `p - t` cancels, and where
a saturated function stands still, so that neither another step nor another point nearby would round differently. This
is Monte Carlo arithmetic (Parker 1997, UCLA CSD-970002; Vignes 1993, doi:10.1016/0378-4754(93)90003-D).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.interpreter import bind, evaluate

SEEDS = 8  # how often a result is computed anew

# Operations whose result is exact, or a copy of one of their inputs.
EXACT = frozenset(
    """abs argmax argmin argsort bitcast_convert_type broadcast broadcast_in_dim ceil clamp complex concatenate conj
    copy copy_p cummax cummin device_put dynamic_slice dynamic_update_slice eq floor gather ge gt imag iota
    is_finite le lt max min ne neg not optimization_barrier pad random_bits random_fold_in random_seed random_split
    random_unwrap random_wrap real reduce_and reduce_max reduce_min reduce_or reshape rev round scatter scatter-max
    scatter-min scatter_max scatter_min select_n sign slice sort split squeeze stack stop_gradient top_k
    transpose""".split()  # noqa: SIM905 (one to a line they would fill a page)
)
# Operations that add up many numbers: an error is relative to the terms, not to the sum.
SUMS = frozenset({"conv_general_dilated", "cumsum", "dot_general", "reduce_sum", "reduce_window_sum", "scatter-add"})
# Operations that the hardware rounds correctly. What remains are functions such as exp, right to some units.
CORRECT = frozenset({"add", "add_any", "convert_element_type", "div", "mul", "sqrt", "square", "sub"})
UNITS = 4  # of rounding, in a function such as exp


def randomly_rounded(f: Callable[..., Any]) -> Callable[..., Any]:
    """`g(seed, *args)`, which computes `f(*args)` with ROUND.1 after each operation. `f` must be traceable by JAX."""

    def g(seed: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        found = evaluate(closed, jax.tree.leaves(args), partial(_rounded, seed))
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return g


def rounding_change(f: Callable[..., Any]) -> Callable[..., Any]:
    """`g(seed, *args)`, by how much ROUND.1 changes `f(*args)`, a tree of arrays. `f` is traced once, for both."""

    def g(seed: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        plain, rounded = (evaluate(closed, jax.tree.leaves(args), rule) for rule in (bind, partial(_rounded, seed)))
        return jax.tree.unflatten(jax.tree.structure(shape), [b - a for a, b in zip(plain, rounded, strict=True)])

    return g


def _rounded(seed: jax.Array, equation: Any, inputs: list[Any]) -> Sequence[Any]:
    """The outputs of one operation, rounded differently."""
    name = equation.primitive.name
    products = name in ("mul", "div") and any(jnp.iscomplexobj(x) for x in inputs)  # of complex numbers: sums
    if name in SUMS or products:
        inputs = [_perturbed(x, seed, 1) for x in inputs]
    outputs = bind(equation, inputs)
    if name in EXACT or name in SUMS:
        return outputs
    return [_perturbed(x, seed, 1 if name in CORRECT else UNITS) for x in outputs]


def _perturbed(x: Any, seed: jax.Array, units: int) -> Any:
    """ROUND.1, `units` times as large."""
    dtype = jnp.result_type(x)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.lax.complex(_perturbed(jnp.real(x), seed, units), _perturbed(jnp.imag(x), seed, units))
    if not jnp.issubdtype(dtype, jnp.floating):
        return x
    word = jnp.dtype(f"int{8 * jnp.dtype(dtype).itemsize}")
    # The multiplicative hash of Knuth (TAOCP 3, section 6.4): its highest bit depends on all bits.
    odd = np.array(0x9E3779B97F4A7C15 >> (64 - 8 * word.itemsize) | 1, np.uint64).astype(word)
    bits = (jax.lax.bitcast_convert_type(jnp.asarray(x, dtype), word) ^ seed.astype(word)) * odd
    eps = np.asarray(units * jnp.finfo(dtype).eps, dtype)
    return x * jnp.where(bits < 0, 1 + eps, 1 - eps).astype(dtype)  # ROUND.1


def seeds() -> Iterator[np.ndarray]:
    """The seeds of ROUND.1: fixed, so that a check gives the same result each time."""
    yield from np.random.default_rng(0).integers(1 << 62, size=SEEDS, dtype=np.int64)
