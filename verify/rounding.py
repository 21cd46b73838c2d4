"""The rounding errors of both sides of a check, measured by random rounding (verify/random_rounding.py).

They are measured where a first comparison does not pass: the usual error bars come from the same computation at another
step or another multiple of the cotangent, which round differently as a rule, but not where a function is saturated.
Functions that are called, and not traced, are compared with themselves in extended precision (verify/extended.py).
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.called import AnyProbe
from verify.case import Function, Tensors
from verify.complex_step import step_sizes
from verify.extended import complex_error, gradient_error, value_error
from verify.probe import Probe
from verify.programs import Layout, direction, jit, on_each, unpack
from verify.random_rounding import randomly_rounded, rounding_change, seeds
from verify.verdict import norm


def gradient_rounding(probe: Probe) -> np.ndarray:
    """How much rounding changes each number of the analytic gradient, (n,); zero where it has not the right shape."""
    if probe.case.gradients is not None:
        changes = probe.case.rounding() if probe.case.rounding is not None else {}
    elif isinstance(probe, AnyProbe) and not probe.gradient_is_traced:
        changes = gradient_error(probe)
    else:
        program = _gradient_program.__wrapped__ if probe.fresh else _gradient_program
        rounded = program(probe.case.function, probe.layout, probe.small)
        changes = _tried(lambda: largest_changes(lambda seed: rounded(seed, *probe.point)), {})
    out = np.zeros(probe.n)
    for name in probe.names:
        if name in changes and np.shape(changes[name]) == probe.shapes[name]:
            out[probe.span[name]] = np.ravel(changes[name])
    if isinstance(probe, AnyProbe) and not probe.gradient_is_traced:
        # Extended precision may lose the same digits. But <w, f> itself is not more exact than eps, nor is its slope.
        out = np.maximum(out, probe.eps * norm(probe.w * probe.output()) / probe.scale)
    return np.where(np.isfinite(out), out, 0.0)


def value_rounding(probe: Probe) -> float:
    """The standard deviation of the rounding errors of `<w, f>` at the point; 0 if it cannot be measured."""
    if isinstance(probe, AnyProbe) and probe.called is not None:
        return value_error(probe)
    program = _value_program(probe.case.function, probe.layout, probe.small)
    changes = np.array(_tried(lambda: [float(program(seed, *probe.point)) for seed in seeds()], [0.0]))
    found = norm(changes) / np.sqrt(len(changes))
    return max(found, probe.least_noise) if np.isfinite(found) and found else 0.0


def complex_rounding(probe: Probe, lines: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How much rounding changes the complex step along `lines` (m,), with `sizes` (m,) as there; returns (m,)."""
    if isinstance(probe, AnyProbe) and probe.called is not None:
        return complex_error(probe, lines, step_sizes(probe, lines, sizes))
    program = _complex_program(probe.case.function, probe.layout, probe.small, probe.at_once > 1)
    flat, constants, w = probe.point
    out, h = np.empty(len(lines)), step_sizes(probe, lines, sizes)
    for rows, batch in probe.batches(lines):
        steps = probe.padded(h[rows], (len(batch),), fill=1.0)
        args = (flat, constants, w, batch, probe.directions, steps)
        found = _tried(partial(_at_each_seed, program, args), np.zeros((1, len(batch))))
        out[rows] = np.ptp(np.asarray(found), axis=0)[: rows.stop - rows.start]
    return np.where(np.isfinite(out), out, np.inf)


def _at_each_seed(program: Any, args: tuple[Any, ...]) -> list[Any]:
    return [program(seed, *args) for seed in seeds()]


def _tried(measured: Callable[[], Any], unknown: Any) -> Any:
    """What a measurement returns, or `unknown` if there is an operation in it that cannot be run by itself."""
    try:
        return measured()
    except Exception:  # JAX's own, of any kind: its operations are not made for this
        return unknown


def largest_changes(change: Callable[[np.ndarray], Tensors]) -> Tensors:
    """By name, the largest |change(seed)| over the seeds, with the shape of each tensor."""
    found: Tensors = {}
    for seed in seeds():
        for name, array in jax.device_get(change(seed)).items():
            found[name] = np.maximum(found.get(name, 0.0), np.abs(np.asarray(array)))
    return found


@lru_cache(maxsize=64)
def _gradient_program(function: Function, layout: Layout, small: bool) -> Any:
    def gradient(flat: jax.Array, constants: Tensors, dy: jax.Array) -> Tensors:
        return function.gradient(unpack(flat, layout), constants, dy)

    return jit(rounding_change(gradient), small)


@lru_cache(maxsize=64)
def _value_program(function: Function, layout: Layout, small: bool) -> Any:
    def f(flat: jax.Array, constants: Tensors) -> jax.Array:
        return function.value(unpack(flat, layout), constants)

    def change(seed: jax.Array, flat: jax.Array, constants: Tensors, w: jax.Array) -> jax.Array:
        return jnp.sum(w * rounding_change(f)(seed, flat, constants))

    return jit(change, small)


@lru_cache(maxsize=64)
def _complex_program(function: Function, layout: Layout, small: bool, together: bool) -> Any:
    def f(flat: jax.Array, constants: Tensors) -> jax.Array:
        return function.value(unpack(flat, layout), constants)

    def program(
        seed: jax.Array, flat: jax.Array, constants: Tensors, w: Any, lines: Any, table: Any, t: Any
    ) -> jax.Array:
        def derivative(line: tuple[jax.Array, jax.Array]) -> jax.Array:
            point = flat + 1j * (line[1] * direction(line[0], table))
            return jnp.sum(w * randomly_rounded(f)(seed, point, constants).imag) / line[1]

        return on_each(derivative, (lines, t), together)

    return jit(program, small)
