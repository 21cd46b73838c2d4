"""The operations of a traced program, one at a time and in NumPy: what a compiler is compared with.

NumPy shares no code with XLA, so an operation that XLA compiles wrongly, alone or together with others, differs from
here. Sums are accumulated in float64. What has no rule here, such as the random bits, is run by JAX as a program of one
operation.

`rounded` is the same with each operation rounded differently (ROUND.1 of verify/random_rounding.py), unless its result
is exact. A sum of n terms may also be added up in another order, which a compiler chooses freely:

    |error| <= sqrt(n) u sum(|terms|),   u = eps / 2                                                          (SUM.1)

holds with high probability (Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), theorem 2.4).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.interpreter import bind
from verify.programs import jit
from verify.random_rounding import CORRECT, EXACT, SUMS, UNITS

TF32 = 2.0**-10  # GPUs may round float32 to this in products, as JAX lets them by default
Arrays = Sequence[Any]
"""NumPy's; PRNG keys, which NumPy does not have, are JAX's."""
Rule = Callable[..., Any]
"""From an operation's parameters and its inputs to its one output; None: not by NumPy."""


def apply(equation: Any, inputs: Arrays) -> list[Any]:
    """The outputs of an operation that has no program inside."""
    name, rule = equation.primitive.name, _RULES.get(equation.primitive.name)
    if name == "optimization_barrier":
        return list(inputs)
    if name == "split":
        ends = np.cumsum(equation.params["sizes"])[:-1]
        return list(np.split(inputs[0], ends, axis=equation.params["axis"]))
    avals = [variable.aval for variable in equation.outvars]
    if rule is not None and not any(is_key(x) for x in inputs):
        with np.errstate(all="ignore"):
            found = rule(equation.params, *(_widened(x) for x in inputs))
        if found is not None:
            return [np.asarray(found).astype(avals[0].dtype, copy=False)]
    if name in _OF_KEYS and is_key(inputs[0]):
        return [_of_key_data(rule, equation.params, inputs[0])]
    primitive = equation.primitive
    if isinstance(primitive.impl, partial) or name.startswith("random_"):  # JAX compiles it, whoever calls it
        found = _program(primitive, _Params(equation.params), jnp.result_type(float))(*inputs)
    else:
        found = bind(equation, [jnp.asarray(x) for x in inputs])
    return [x if is_key(x) else np.asarray(x) for x in found]


class _Params(dict[str, Any]):
    """Parameters of an operation; a function can be cached by them, by what they print."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(str(self))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)


@lru_cache(maxsize=1024)
def _program(primitive: Any, params: _Params, default: Any) -> Any:
    """An operation as a program of its own, which the compiler does little to. `default` is the type of a float: it is
    part of the key, as other types of integers belong to another."""

    def operation(*inputs: Any) -> Any:
        found = primitive.bind(*inputs, **params)
        return found if primitive.multiple_results else [found]

    return jit(operation, small=True)


def _of_key_data(rule: Any, params: Any, keys: Any) -> Any:
    """What moves keys, done to the words that they consist of."""
    data = np.asarray(jax.random.key_data(keys))
    places = np.arange(keys.size).reshape(keys.shape)
    return jax.random.wrap_key_data(
        data.reshape(-1, data.shape[-1])[rule(params, places)], impl=jax.random.key_impl(keys)
    )


def rounded(equation: Any, inputs: Arrays, seed: int) -> list[Any]:
    """The same, rounded differently."""
    name = equation.primitive.name
    if name in ("dot_general", "reduce_sum") and is_float(equation.outvars[0].aval.dtype):
        return [_rounded_sum(equation, inputs, seed)]
    if name in SUMS:  # n u times the root of the sum of the squares of the terms is at least SUM.1
        first, *others = inputs
        inputs = [perturbed(first, seed, max(1.0, _terms(equation) / 2)), *others]
    outputs = apply(equation, inputs)
    if name in EXACT or name in SUMS:
        return outputs
    found = [perturbed(x, seed, 1 if name in CORRECT else UNITS) for x in outputs]
    exact = _exact(name, inputs, outputs[0]) if name in CORRECT else None
    return found if exact is None else [np.where(exact, outputs[0], found[0])]


def _rounded_sum(equation: Any, inputs: Arrays, seed: int) -> Any:
    """SUM.1. Half precision is added up in float32."""
    params, rule = equation.params, _RULES[equation.primitive.name]
    dtype, (first, *others) = equation.outvars[0].aval.dtype, map(_widened, inputs)
    if others and jax.default_backend() != "cpu" and first.dtype == others[0].dtype == np.float32:
        first = perturbed(first, seed, TF32 / float(jnp.finfo(np.float32).eps))
    with np.errstate(all="ignore"):
        y, size = rule(params, first, *others), rule(params, np.abs(first), *map(np.abs, others))
    u = float(jnp.finfo(np.result_type(first, np.float32)).eps) / 2
    signs = perturbed(np.ones(np.shape(y), np.float32), seed, 1, like=np.asarray(y, np.float64)) > 1
    moved = (y + math.sqrt(_terms(equation)) * u * np.where(signs, size, -size)).astype(dtype)
    return perturbed(moved, seed, 1) if dtype.itemsize == 2 else moved


def _exact(name: str, inputs: Arrays, output: Any) -> Any:
    """Where a result needed no rounding, as those of small integers: no compiler changes them. None: not known."""
    if (
        not is_float(output.dtype)
        or output.dtype.itemsize > 4
        or any(is_key(x) or x.dtype.itemsize > 4 for x in inputs)
    ):
        return None
    a, *others = (np.asarray(x, np.float64) for x in inputs)
    y = np.asarray(output, np.float64)
    with np.errstate(all="ignore"):
        if name == "convert_element_type":
            return a == y
        if name == "div":
            return y * others[0] == a
        return _WIDE[name](a, *others) == y if name in _WIDE else None


def perturbed(x: Any, seed: int, units: float, like: Any = None) -> Any:
    """ROUND.1, `units` times as large; the sign is a hash of the bits of `like`, of x by default."""
    if is_key(x) or not is_float(x.dtype):
        return x
    bits = np.ascontiguousarray(x if like is None else like)
    size = bits.dtype.itemsize
    word = np.dtype(f"uint{8 * size}")
    odd = np.array(0x9E3779B97F4A7C15 >> (64 - 8 * size) | 1, np.uint64).astype(word)
    negative = ((bits.view(word) ^ np.array(seed & (1 << 8 * size) - 1, word)) * odd) >= 1 << 8 * size - 1
    eps = units * float(jnp.finfo(x.dtype).eps)
    wide = _widened(x)
    factor = np.array([1 - eps, 1 + eps], wide.dtype)[negative.astype(np.int8)]
    with np.errstate(all="ignore"):
        return (wide * factor.reshape(x.shape)).astype(x.dtype, copy=False)


def is_key(x: Any) -> bool:
    """Whether it is an array of PRNG keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.extended)


def is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _widened(x: Any) -> Any:
    """Half precision as float32, which holds the same numbers and which NumPy computes with."""
    half = not is_key(x) and is_float(x.dtype) and x.dtype.itemsize == 2
    return x.astype(np.float32) if half else x


def _terms(equation: Any) -> int:
    """How many numbers each result adds up."""
    params, shapes = equation.params, [variable.aval.shape for variable in equation.invars]
    if equation.primitive.name == "dot_general":
        return math.prod(shapes[0][axis] for axis in params["dimension_numbers"][0][0])
    if "axes" in params:
        return math.prod(shapes[0][axis] for axis in params["axes"])
    if "axis" in params:
        return int(shapes[0][params["axis"]])
    return math.prod(shapes[-1])  # of a convolution, its kernel


def _dot(params: Any, a: Any, b: Any) -> Any:
    (of_a, of_b), (batch_a, batch_b) = params["dimension_numbers"]
    free_a = [axis for axis in range(a.ndim) if axis not in (*of_a, *batch_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*of_b, *batch_b)]
    terms, batch = math.prod(a.shape[axis] for axis in of_a), [a.shape[axis] for axis in batch_a]
    rows, columns = [a.shape[axis] for axis in free_a], [b.shape[axis] for axis in free_b]
    left = a.transpose(*batch_a, *free_a, *of_a).reshape(*batch, math.prod(rows), terms)
    right = b.transpose(*batch_b, *of_b, *free_b).reshape(*batch, terms, math.prod(columns))
    return (left @ right).reshape(*batch, *rows, *columns)


def _broadcast(params: Any, x: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _slice(params: Any, x: Any) -> Any:
    steps = params["strides"] or [1] * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]


def _pad(params: Any, x: Any, value: Any) -> Any:
    widths = params["padding_config"]
    if any(low < 0 or high < 0 or inner for low, high, inner in widths):
        return None
    return np.pad(x, [(low, high) for low, high, _ in widths], constant_values=value)


def _convert(params: Any, x: Any) -> Any:
    whole = is_float(x.dtype) and not is_float(params["new_dtype"])  # numbers out of range are the compiler's affair
    return None if whole else x.astype(params["new_dtype"])


def _sum(params: Any, x: Any) -> Any:
    return x.sum(axis=params["axes"], dtype=np.float64 if is_float(x.dtype) else x.dtype)


def _plain(function: Callable[..., Any]) -> Rule:
    return lambda params, *inputs: function(*inputs)


def _of_floats(function: Callable[..., Any]) -> Rule:
    return lambda params, *inputs: function(*inputs) if is_float(inputs[0].dtype) else None


_WIDE: dict[str, Any] = {"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply}
_OF_KEYS = frozenset({"reshape", "rev", "slice", "squeeze", "transpose"})
_RULES: dict[str, Rule] = {
    "abs": _plain(np.abs), "add": _plain(np.add), "add_any": _plain(np.add), "and": _plain(np.bitwise_and),
    "broadcast_in_dim": _broadcast, "ceil": _plain(np.ceil), "clamp": _plain(lambda low, x, high: x.clip(low, high)),
    "concatenate": lambda params, *parts: np.concatenate(parts, axis=params["dimension"]),
    "convert_element_type": _convert, "copy": _plain(lambda x: x), "copy_p": _plain(lambda x: x),
    "cos": _of_floats(np.cos), "div": _of_floats(np.divide), "dot_general": _dot, "eq": _plain(np.equal),
    "exp": _of_floats(np.exp), "exp2": _of_floats(np.exp2), "expm1": _of_floats(np.expm1), "floor": _plain(np.floor),
    "ge": _plain(np.greater_equal), "gt": _plain(np.greater),
    "integer_pow": lambda params, x: x ** params["y"] if is_float(x.dtype) else None,
    "is_finite": _plain(np.isfinite), "le": _plain(np.less_equal), "log": _of_floats(np.log),
    "log1p": _of_floats(np.log1p), "lt": _plain(np.less), "max": _plain(np.maximum), "min": _plain(np.minimum),
    "mul": _plain(np.multiply), "ne": _plain(np.not_equal), "neg": _plain(np.negative), "not": _plain(np.invert),
    "or": _plain(np.bitwise_or), "pad": _pad, "pow": _of_floats(np.power),
    "reduce_and": lambda params, x: np.bitwise_and.reduce(x, axis=params["axes"]),
    "reduce_max": lambda params, x: x.max(axis=params["axes"]),
    "reduce_min": lambda params, x: x.min(axis=params["axes"]),
    "reduce_or": lambda params, x: np.bitwise_or.reduce(x, axis=params["axes"]),
    "reduce_sum": _sum,
    "reshape": lambda params, x: x.reshape(params["new_sizes"]) if params["dimensions"] is None else None,
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    "rsqrt": _of_floats(lambda x: 1 / np.sqrt(x)),
    "select_n": lambda params, which, *cases: np.where(which, *cases[::-1]) if which.dtype == bool else None,
    "sign": _of_floats(np.sign), "sin": _of_floats(np.sin), "slice": _slice, "sqrt": _of_floats(np.sqrt),
    "square": _of_floats(np.square), "squeeze": lambda params, x: x.squeeze(tuple(params["dimensions"])),
    "stack": lambda params, *parts: np.stack(parts, axis=params["axis"]), "stop_gradient": _plain(lambda x: x),
    "sub": _plain(np.subtract), "tanh": _of_floats(np.tanh),
    "transpose": lambda params, x: x.transpose(params["permutation"]), "xor": _plain(np.bitwise_xor),
}  # fmt: skip
