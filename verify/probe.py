"""Evaluating a case along lines through its point, compiled once and in batches of bounded memory.

All tensors of a case lie end to end in one vector `flat` of n numbers. A coordinate is then a direction like any other,
and one program serves central differences, complex steps, Taylor tests and the estimate of the noise.

Real       d(v, t) = <w, f(flat + t v) - f(flat)>      outputs are subtracted before they are summed: what the step
                                                       does not reach cancels exactly and brings no rounding  (PROBE.1)
Complex    g(v, t) = <w, Im f(flat + i t v)> / t                                                              (PROBE.2)
"""

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.case import Case, Function, Tensors
from verify.errors import CheckError, PrecisionError

STEPS = 8  # points on a line in one call
BATCH = 32  # lines in one call
BATCH_NUMBERS = 1 << 19  # at most so many numbers in the directions of one call
SMALL = 1 << 15  # below so many coordinates compiling takes longer than running: compile plainly
UNEVEN = 1.3717  # no power of two, so that scaling by it gives every number new rounding

Layout = tuple[tuple[str, tuple[int, ...]], ...]


class NotAnalyticError(Exception):
    """The forward cannot be evaluated at complex numbers; the message says why."""


class Probe:
    """The programs of one case. `w` is the cotangent, by default drawn from `rng`.

    Raises:
        PrecisionError: the point or the output is not float64, or float64 is narrowed on the way, unless `any_float`.
        CheckError: the function has no numbers to differentiate.
    """

    def __init__(
        self, case: Case, rng: np.random.Generator, *, w: Any = None, any_float: bool = False, fresh: bool = False
    ) -> None:
        """`fresh` compiles the gradient anew: a planted mistake changes code that equal functions share."""
        self.case = case
        self.names = list(case.tensors)
        self.shapes = {name: np.shape(array) for name, array in case.tensors.items()}
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        ends = np.cumsum([0, *sizes])
        self.span = {name: slice(int(a), int(b)) for name, a, b in zip(self.names, ends[:-1], ends[1:], strict=True)}
        self.n = int(ends[-1])
        if not self.n:
            raise CheckError(f"{case.name}: no numbers to differentiate: every tensor is empty")
        self.dtype = _float_type(case, any_float)
        self.flat = np.concatenate([np.ravel(np.asarray(a)).astype(self.dtype) for a in case.tensors.values()])
        self.scale = np.concatenate([np.full(np.size(a), _typical_size(np.asarray(a))) for a in case.tensors.values()])
        self.constants = case.constants

        layout: Layout = tuple(self.shapes.items())
        self._layout, self._small = layout, self.n < SMALL
        self._real = _real_program(case.function, layout, self._small)
        self._complex = _complex_program(case.function, layout, self._small)
        make = _gradient_program.__wrapped__ if fresh else _gradient_program
        self._gradient = make(case.function, layout, self._small)
        output = _output(case.function, layout, self.flat, self.constants, any_float)
        self.output_shape = output.shape
        self.w = np.asarray(rng.normal(size=output.shape) if w is None else w, self.dtype)
        if self.w.shape != output.shape:
            raise CheckError(f"{case.name}: the cotangent has shape {self.w.shape}, the output {output.shape}")

    @property
    def eps(self) -> float:
        """Spacing of the numbers next to 1."""
        return float(np.finfo(self.dtype).eps)

    def part(self, flat: np.ndarray, name: str) -> np.ndarray:
        """One tensor out of a vector like `flat`."""
        return flat[self.span[name]].reshape(self.shapes[name])

    def directions(self, index: np.ndarray) -> np.ndarray:
        """Unit vectors of these coordinates, (m, n)."""
        rows = np.zeros((len(index), self.n), self.dtype)
        rows[np.arange(len(index)), index] = 1
        return rows

    def differences(self, lines: np.ndarray, t: np.ndarray) -> np.ndarray:
        """PROBE.1. `lines` are coordinates (m,) or directions (m, n); t (m, s); returns (m, s)."""
        t = np.asarray(t, self.dtype)
        out = np.empty(t.shape)
        for rows, V in self._batches(lines):
            for start in range(0, t.shape[1], STEPS):
                block = t[rows, start : start + STEPS]
                steps = _padded(block, (len(V), STEPS))
                result = np.asarray(self._real(self.flat, self.constants, self.w, V, steps)[0])
                out[rows, start : start + STEPS] = result[: block.shape[0], : block.shape[1]]
        return out

    def complex_steps(self, lines: np.ndarray, t: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
        """PROBE.2. `lines` as above; t (m,); returns the derivative along each line, (m,).

        Raises:
            NotAnalyticError: the forward takes no complex numbers, or its output has no imaginary part.
        """
        out = np.empty(len(lines))
        w = self.w if w is None else np.asarray(w, self.dtype)
        for rows, V in self._batches(lines):
            steps = _padded(np.asarray(t, self.dtype)[rows], (len(V),), fill=1.0)
            out[rows] = self._call_complex(w, V, steps)[: rows.stop - rows.start]
        return out

    def gradient(self, factor: float = 1.0) -> Tensors:
        """The hand-derived gradient, of `<factor * w, f>`; raises whatever the backward raises."""
        return jax.device_get(self._gradient(self.flat, self.constants, (factor * self.w).astype(self.dtype)))

    def output(self) -> np.ndarray:
        """f at the point: a by-product of any difference."""
        size = self._batch_size
        V, t = np.zeros((size, self.n), self.dtype), np.zeros((size, STEPS), self.dtype)
        return np.asarray(self._real(self.flat, self.constants, self.w, V, t)[1])

    def _call_complex(self, w: np.ndarray, V: np.ndarray, steps: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a cast that drops the imaginary part: found out by its result
            try:
                return np.asarray(self._complex(self.flat, self.constants, w, V, steps))
            except (TypeError, NotImplementedError) as error:
                raise NotAnalyticError(f"takes no complex numbers: {_first_line(error)}") from None

    @property
    def _batch_size(self) -> int:
        return max(1, min(BATCH, BATCH_NUMBERS // self.n))

    def _batches(self, lines: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Batches of directions of one size, so that each program is compiled once."""
        size = self._batch_size
        for start in range(0, len(lines), size):
            rows = slice(start, min(start + size, len(lines)))
            V = self.directions(lines[rows]) if lines.ndim == 1 else np.asarray(lines[rows], self.dtype)
            yield rows, _padded(V, (size, self.n))


def _float_type(case: Case, any_float: bool) -> np.dtype:
    types = {name: np.asarray(array).dtype for name, array in case.tensors.items()}
    for name, dtype in types.items():
        if not np.issubdtype(dtype, np.floating):
            raise CheckError(f"{case.name}: {name} has type {dtype}; only floating-point tensors have a gradient")
        if dtype != np.float64 and not any_float:
            raise PrecisionError(
                f"{case.name}: {name} is {dtype}, in which a difference quotient has few correct digits: give float64 "
                "tensors, or ask for the check in lower precision"
            )
    if not jax.config.jax_enable_x64 and not any_float:  # type: ignore[attr-defined]
        raise PrecisionError("JAX computes in float32: set JAX_ENABLE_X64=1, or ask for the check in lower precision")
    return np.dtype(np.result_type(*types.values()) if jax.config.jax_enable_x64 else np.float32)  # type: ignore[attr-defined]


def _typical_size(array: np.ndarray) -> float:
    """Root mean square; 1 for a tensor of zeros, which says nothing about how far it may be moved."""
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) or 1.0 if array.size else 1.0


def _padded(array: np.ndarray, shape: tuple[int, ...], fill: float = 0.0) -> np.ndarray:
    if array.shape == shape:
        return array
    full = np.full(shape, fill, array.dtype)
    full[tuple(slice(k) for k in array.shape)] = array
    return full


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


# The programs. Cached by function, so that equal layers at equal shapes share them.


def _jit(program: Callable[..., Any], small: bool) -> Any:
    return jax.jit(program, compiler_options=_plain_compiler() if small else None)


@lru_cache(maxsize=1)
def _plain_compiler() -> dict[str, Any]:
    """Options that make compiling three to five times as fast, as far as this version of XLA knows them."""
    options: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    known = {}
    for name, value in options.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(0.0)
            known[name] = value
        except Exception:  # an unknown option; JAX does not say so by a type of its own
            continue
    return known


def _unpack(flat: jax.Array, layout: Layout) -> Tensors:
    tensors, start = {}, 0
    for name, shape in layout:
        size = int(np.prod(shape))
        tensors[name] = flat[start : start + size].reshape(shape)
        start += size
    return tensors


@lru_cache(maxsize=256)
def _real_program(function: Function, layout: Layout, small: bool) -> Any:
    def program(flat: jax.Array, constants: Tensors, w: jax.Array, V: jax.Array, t: jax.Array) -> Any:
        def f(point: jax.Array) -> jax.Array:
            return function.value(_unpack(point, layout), constants)

        y = f(flat)

        def along(v: jax.Array, steps: jax.Array) -> jax.Array:
            def difference(step: jax.Array) -> jax.Array:
                return jnp.sum(w * (f(flat + step * v) - y))

            return jax.vmap(difference)(steps) if small else jax.lax.map(difference, steps)

        return (jax.vmap(along)(V, t) if small else jax.lax.map(lambda line: along(*line), (V, t))), y

    return _jit(program, small)


@lru_cache(maxsize=256)
def _complex_program(function: Function, layout: Layout, small: bool) -> Any:
    def program(flat: jax.Array, constants: Tensors, w: jax.Array, V: jax.Array, t: jax.Array) -> jax.Array:
        def derivative(line: tuple[jax.Array, jax.Array]) -> jax.Array:
            v, step = line
            y = function.value(_unpack(flat + 1j * (step * v), layout), constants)
            if not jnp.issubdtype(y.dtype, jnp.complexfloating):
                raise NotAnalyticError(f"drops the imaginary part: its output is {y.dtype}")
            return jnp.sum(w * y.imag) / step

        return jax.vmap(lambda v, step: derivative((v, step)))(V, t) if small else jax.lax.map(derivative, (V, t))

    return _jit(program, small)


@lru_cache(maxsize=256)
def _gradient_program(function: Function, layout: Layout, small: bool) -> Any:
    return _jit(lambda flat, constants, dy: function.gradient(_unpack(flat, layout), constants, dy), small)


def _output(function: Function, layout: Layout, flat: np.ndarray, constants: Tensors, any_float: bool) -> Any:
    """Shape and type of the output; the check that everything on the way to it is float64."""
    traced = jax.make_jaxpr(lambda x, c: function.value(_unpack(x, layout), c), return_shape=True)
    jaxpr, output = traced(flat, constants)
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise CheckError(f"the function must return one array, not {type(output).__name__}")
    if not any_float:
        if output.dtype != np.float64:
            raise PrecisionError(f"the output is {output.dtype}: compute in float64, or ask for lower precision")
        for narrow in _narrowed(jaxpr.jaxpr):
            raise PrecisionError(f"the forward narrows float64 to {narrow} on the way: rounding would hide mistakes")
    return output


def _narrowed(jaxpr: Any) -> Iterator[str]:
    """Types narrower than float64 that float64 numbers are converted to, in this program and those inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            source, target = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
            if source == np.float64 and jnp.issubdtype(target, jnp.floating) and target != np.float64:
                yield str(target)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "jaxpr"):
                inner = inner.jaxpr
            if hasattr(inner, "eqns"):
                yield from _narrowed(inner)
