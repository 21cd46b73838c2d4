"""How far rounding alone may put a result off: the same computation, with every operation rounded differently.

    r(x) = x (1 + s eps),   s = +-1                                                                     (ROUND.1)

stands after each operation that rounds, and before each sum, whose terms are rounded one by one. The sign `s` is a hash
of the bits of x and of a seed, so that equal numbers stay equal, as they do in the hardware. The spread of the result
over some seeds is its rounding error, however it came about: also where a difference such as `p - t` cancels, and where
a saturated function stands still, so that neither another step nor another point nearby would round differently. This
is Monte Carlo arithmetic (Parker 1997, UCLA CSD-970002; Vignes 1993, doi:10.1016/0378-4754(93)90003-D).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SEEDS = 8  # how often a result is computed anew

# Operations whose result is exact, or a copy of one of their inputs.
EXACT = frozenset(
    """abs argmax argmin argsort bitcast_convert_type broadcast broadcast_in_dim ceil clamp complex concatenate conj
    copy copy_p cummax cummin device_put dynamic_slice dynamic_update_slice eq floor gather ge gt imag iota
    is_finite le lt max min ne neg not optimization_barrier pad random_bits random_fold_in random_seed random_split
    random_unwrap random_wrap real reduce_and reduce_max reduce_min reduce_or reshape rev round scatter scatter-max
    scatter-min scatter_max scatter_min select_n sign slice sort split squeeze stop_gradient top_k transpose""".split()  # noqa: SIM905 (one to a line they would fill a page)
)
# Operations that add up many numbers: an error is relative to the terms, not to the sum.
SUMS = frozenset({"conv_general_dilated", "cumsum", "dot_general", "reduce_sum", "reduce_window_sum", "scatter-add"})
# Operations that the hardware rounds correctly. What remains are functions such as exp, right to some units.
CORRECT = frozenset({"add", "add_any", "convert_element_type", "div", "mul", "sqrt", "square", "sub"})
# Programs inside the program.
CALLS = frozenset(
    {"checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit", "remat", "remat2"}
)
UNITS = 4  # of rounding, in a function such as exp


def randomly_rounded(f: Callable[..., Any]) -> Callable[..., Any]:
    """`g(seed, *args)`, which computes `f(*args)` with ROUND.1 after each operation. `f` must be traceable by JAX."""

    def g(seed: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        found = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), seed)
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    return g


def rounding_change(f: Callable[..., Any]) -> Callable[..., Any]:
    """`g(seed, *args)`, by how much ROUND.1 changes `f(*args)`, a tree of arrays. `f` is traced once, for both."""

    def g(seed: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        plain, rounded = (_evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), s) for s in (None, seed))
        return jax.tree.unflatten(jax.tree.structure(shape), [b - a for a, b in zip(plain, rounded, strict=True)])

    return g


def _evaluate(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], seed: jax.Array | None, given: Sequence[bool] | None = None
) -> list[Any]:
    """The outputs of a traced program, without ROUND.1 if there is no seed.

    What depends on none of the arguments that are `given` (all by default) is left as it is: it may be a place in an
    array that was computed as a float.
    """
    values: dict[Any, Any] = {}
    depends = {v for v, is_given in zip(jaxpr.invars, given or [True] * len(args), strict=True) if is_given}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        flags = [not hasattr(atom, "val") and atom in depends for atom in equation.invars]
        outputs = _apply(equation, inputs, flags, seed if any(flags) else None)
        values.update(zip(equation.outvars, outputs, strict=True))
        depends.update(equation.outvars if any(flags) else ())
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, inputs: list[Any], given: list[bool], seed: jax.Array | None) -> Sequence[Any]:
    """The outputs of one operation, rounded differently."""
    name = equation.primitive.name
    if name in CALLS:
        inner = next(value for value in equation.params.values() if hasattr(getattr(value, "jaxpr", value), "eqns"))
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs, seed, given)
    if name in _LOOPS:
        return _LOOPS[name](equation.params, inputs, seed)
    products = name in ("mul", "div") and any(jnp.iscomplexobj(x) for x in inputs)  # of complex numbers: sums
    if name in SUMS or products:
        inputs = [_perturbed(x, seed, 1) for x in inputs]
    found = equation.primitive.bind(*inputs, **equation.params)
    outputs = found if equation.primitive.multiple_results else [found]
    if name in EXACT or name in SUMS:
        return outputs
    return [_perturbed(x, seed, 1 if name in CORRECT else UNITS) for x in outputs]


def _perturbed(x: Any, seed: jax.Array | None, units: int) -> Any:
    """ROUND.1, `units` times as large."""
    dtype = jnp.result_type(x)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.lax.complex(_perturbed(jnp.real(x), seed, units), _perturbed(jnp.imag(x), seed, units))
    if seed is None or not jnp.issubdtype(dtype, jnp.floating):
        return x
    word = jnp.dtype(f"int{8 * jnp.dtype(dtype).itemsize}")
    # The multiplicative hash of Knuth (TAOCP 3, section 6.4): its highest bit depends on all bits.
    odd = np.array(0x9E3779B97F4A7C15 >> (64 - 8 * word.itemsize) | 1, np.uint64).astype(word)
    bits = (jax.lax.bitcast_convert_type(jnp.asarray(x, dtype), word) ^ seed.astype(word)) * odd
    eps = np.asarray(units * jnp.finfo(dtype).eps, dtype)
    return x * jnp.where(bits < 0, 1 + eps, 1 - eps).astype(dtype)


def _scan(params: Any, inputs: list[Any], seed: jax.Array | None) -> Sequence[Any]:
    body, consts, carried = params["jaxpr"], params["num_consts"], params["num_carry"]

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        out = _evaluate(body.jaxpr, body.consts, [*inputs[:consts], *carry, *x], seed)
        return out[:carried], out[carried:]

    start, xs = inputs[consts : consts + carried], inputs[consts + carried :]
    last, ys = jax.lax.scan(step, start, xs, length=params["length"], reverse=params["reverse"])
    return [*last, *ys]


def _while(params: Any, inputs: list[Any], seed: jax.Array | None) -> Sequence[Any]:
    test, body, k, n = params["cond_jaxpr"], params["body_jaxpr"], params["cond_nconsts"], params["body_nconsts"]
    of_test, of_body, start = inputs[:k], inputs[k : k + n], inputs[k + n :]
    return jax.lax.while_loop(
        lambda carry: _evaluate(test.jaxpr, test.consts, [*of_test, *carry], seed)[0],
        lambda carry: _evaluate(body.jaxpr, body.consts, [*of_body, *carry], seed),
        start,
    )


def _cond(params: Any, inputs: list[Any], seed: jax.Array | None) -> Sequence[Any]:
    index, *operands = inputs
    branches = [
        lambda *operands, branch=branch: _evaluate(branch.jaxpr, branch.consts, operands, seed)
        for branch in params["branches"]
    ]
    return jax.lax.switch(index, branches, *operands)


_LOOPS: dict[str, Callable[[Any, list[Any], jax.Array | None], Sequence[Any]]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}


def seeds() -> Iterator[np.ndarray]:
    """The seeds of ROUND.1: fixed, so that a check gives the same result each time."""
    yield from np.random.default_rng(0).integers(1 << 62, size=SEEDS, dtype=np.int64)
