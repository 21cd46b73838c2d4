"""The compiled programs that evaluate a case: its value along lines, real and complex, and its gradient.

All are cached by function, so that equal layers at equal shapes share them.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.case import Function, Tensors
from verify.real_parts import in_real_parts

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the tensors in the vector of all numbers."""


class NotAnalyticError(Exception):
    """The forward cannot be evaluated at complex numbers; the message says why."""


def jit(program: Callable[..., Any], small: bool) -> Any:
    """Compile a program, with few optimizations if it is small: compiling would take longer than running."""
    plain = small and jax.default_backend() == "cpu"
    return jax.jit(program, compiler_options=_plain_compiler() if plain else None)


@lru_cache(maxsize=1)
def _plain_compiler() -> dict[str, Any]:
    """Options that make compiling three to five times as fast; those that this version of XLA knows."""
    options: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    known = {}
    for name, value in options.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(0.0)
            known[name] = value
        except Exception:  # an unknown option; JAX does not say so by a type of its own
            continue
    return known


def unpack(flat: jax.Array, layout: Layout) -> Tensors:
    tensors, start = {}, 0
    for name, shape in layout:
        size = int(np.prod(shape))
        tensors[name] = flat[start : start + size].reshape(shape)
        start += size
    return tensors


def direction(line: jax.Array, table: jax.Array) -> jax.Array:
    n = table.shape[1]
    unit = (jnp.arange(n) == line).astype(table.dtype)
    return jnp.where(line < 0, table[jnp.maximum(-1 - line, 0)], unit)


def on_each(f: Callable[[Any], jax.Array], rows: Any, together: bool) -> jax.Array:
    """All rows at once (vmap), or one after the other, which saves memory."""
    return jax.vmap(f)(rows) if together else jax.lax.map(f, rows)


@lru_cache(maxsize=256)
def real_program(function: Function, layout: Layout, small: bool, together: bool) -> Any:
    def program(flat: jax.Array, constants: Tensors, w: Any, lines: Any, table: Any, t: Any) -> Any:
        def f(point: jax.Array) -> jax.Array:
            return jnp.asarray(function.value(unpack(point, layout), constants))  # f may return a Python number

        y = f(flat)

        def along(line: tuple[jax.Array, jax.Array]) -> jax.Array:
            v = direction(line[0], table)
            return on_each(lambda step: jnp.sum(w * (f(flat + step * v) - y)), line[1], together)  # PROBE.1

        return on_each(along, (lines, t), together), y

    return jit(program, small)


@lru_cache(maxsize=256)
def complex_program(function: Function, layout: Layout, small: bool, together: bool) -> Any:
    def value(point: jax.Array, constants: Tensors) -> jax.Array:
        return jnp.asarray(function.value(unpack(point, layout), constants))

    if jax.default_backend() != "cpu":
        value = in_real_parts(value)

    def program(flat: jax.Array, constants: Tensors, w: Any, lines: Any, table: Any, t: Any) -> jax.Array:
        def derivative(line: tuple[jax.Array, jax.Array]) -> jax.Array:
            point = flat + 1j * (line[1] * direction(line[0], table))
            y = value(point, constants)
            if not jnp.issubdtype(y.dtype, jnp.complexfloating):
                raise NotAnalyticError(f"drops the imaginary part: its output is {y.dtype}")
            return jnp.sum(w * y.imag) / line[1]  # PROBE.2

        return on_each(derivative, (lines, t), together)

    return jit(program, small)


@lru_cache(maxsize=256)
def gradient_program(function: Function, layout: Layout, small: bool) -> Any:
    return jit(lambda flat, constants, dy: function.gradient(unpack(flat, layout), constants, dy), small)
