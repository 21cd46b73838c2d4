"""Evaluating a case along lines through its point, compiled once and in batches of bounded memory.

All tensors of a case are concatenated to one vector x of n numbers, `flat`. A coordinate is then a direction v like any
other, and one program serves central differences, complex steps, Taylor tests and the estimate of the noise.

Real       d(v, t) = <w, f(x + t v) - f(x)>      outputs are subtracted before they are summed: those that the step does
                                                 not reach cancel exactly, without rounding errors            (PROBE.1)
Complex    c(v, t) = <w, Im f(x + i t v)> / t                                                                 (PROBE.2)

A line is an integer: i >= 0 is the i-th coordinate, -1 - k is the k-th row of the table `directions`.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.case import Case, Function, Tensors
from verify.errors import LEAVE_OUT, WAY_OUT, CheckError, PrecisionError
from verify.programs import Layout, NotAnalyticError, complex_program, gradient_program, real_program, unpack
from verify.traced import inner_programs

STEPS = 8  # points on a line in one call
LINES = 32  # lines in one call
SMALL = 1 << 15  # below this many coordinates compiling takes longer than running: optimize less, run all lines at once
UNEVEN = 1.3717  # no power of two, so that every number is rounded differently when it is scaled by this
MULTIPLE = -37.3717  # of the cotangent: large and negative, so that a clip, a maximum or |dy| shows
MEMORY = 8 << 30  # bytes that a call may use on an accelerator


class Probe:
    """The programs of one case. The cotangent `w` is drawn from `rng` by default; ones if the case has `gradients`.

    Raises:
        PrecisionError: the point or the output is not float64, or float64 is narrowed on the way, unless `any_float`.
        CheckError: there is nothing to check: no coordinates, an empty output, NaN or infinity in a tensor or in the
            cotangent, or a cotangent of zeros.
    """

    def __init__(
        self, case: Case, rng: np.random.Generator, *, w: Any = None, any_float: bool = False, fresh: bool = False
    ) -> None:
        """`fresh` compiles the gradient anew, after a planted mistake has changed the code of equal functions."""
        self.case, self.fresh = case, fresh
        self.names = list(case.tensors)
        self.shapes = {name: np.shape(array) for name, array in case.tensors.items()}
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes.values())])
        self.span = {name: slice(int(a), int(b)) for name, a, b in zip(self.names, ends[:-1], ends[1:], strict=True)}
        self.n = int(ends[-1])
        if not self.n:
            raise CheckError(f"{case.name}: no numbers to differentiate: every tensor is empty")
        self.dtype = _float_type(case, any_float)
        flat = np.concatenate([np.ravel(np.asarray(a)).astype(self.dtype) for a in case.tensors.values()])
        self.scale = np.concatenate([np.full(np.size(a), _typical_size(np.asarray(a))) for a in case.tensors.values()])
        self.own = np.abs(flat).astype(np.float64)  # the size of each coordinate, where it is not nearly zero
        self.own = np.where(self.own > 2.0**30 * self.tiny, np.minimum(self.own, self.scale), self.scale)

        for name, array in case.tensors.items():
            if not np.isfinite(np.asarray(array)).all():
                raise CheckError(f"{case.name}: {name} holds NaN or infinity: give a point at which f has a derivative")
            if self.scale[self.span[name]].min(initial=1.0) < self.tiny * min(2.0**30, 1 / self.eps):
                raise CheckError(f"{case.name}: {name} is so near zero that steps from it underflow: scale it up")
        layout = self.layout = tuple(self.shapes.items())
        self.jaxpr, output = _output(case.function, layout, flat, case.constants, any_float)
        self.output_shape = output.shape
        if case.gradients is not None:
            w = np.ones(output.shape)
        self.w = self._cotangent(rng.normal(size=output.shape) if w is None else w)
        if self.w.shape != output.shape:
            raise CheckError(f"{case.name}: the cotangent has shape {self.w.shape}, the output {output.shape}")
        if not self.w.size:
            raise CheckError(f"{case.name}: the output is empty, of shape {output.shape}: nothing depends on anything")
        if not np.isfinite(self.w).all() or not self.w.any():
            raise CheckError(f"{case.name}: the cotangent must be finite and not all zeros")
        self._flat, self._constants, self._w = jax.device_put((flat, case.constants, self.w))
        self.set_directions(np.zeros((1, self.n)))

        small = self.small = self.n < SMALL
        self.at_once = LINES if small else _fitting_lines(self.n)
        self.lines = max(LINES if small else 1, self.at_once)  # in a call
        self._real = real_program(case.function, layout, small, self.at_once > 1)
        self._complex = complex_program(case.function, layout, small, self.at_once > 1)
        make = gradient_program.__wrapped__ if fresh else gradient_program
        self._gradient = make(case.function, layout, small)

    def _cotangent(self, w: Any) -> np.ndarray:
        try:
            array = np.asarray(w)
            if np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array):
                return array.astype(self.dtype)
        except (TypeError, ValueError):  # of what is no array
            pass
        raise CheckError(f"{self.case.name}: the cotangent must be an array of real numbers like the output")

    @property
    def eps(self) -> float:
        """Spacing of the numbers next to 1."""
        return float(np.finfo(self.dtype).eps)

    @property
    def tiny(self) -> float:
        """The smallest normal number. The hardware sets what is smaller to zero."""
        return float(np.finfo(self.dtype).tiny)

    @property
    def underflow(self) -> float:
        """The error of `<w, f>` if each output is off by some numbers that are set to zero."""
        return 16 * self.tiny * float(np.abs(self.w).sum(dtype=np.float64))

    @property
    def least_noise(self) -> float:
        """The rounding error of `<w, f>` if nothing is rounded but its largest term."""
        return max(self.eps / 4 * float(np.max(np.abs(self.w * self.output()), initial=0.0)), self.underflow)

    def point_rounding(self, size: np.ndarray) -> np.ndarray:
        """The rounding error of x + h v, where x and v are of this size."""
        return np.maximum(self.eps * size, 16 * self.tiny)

    @property
    def point(self) -> tuple[jax.Array, Tensors, jax.Array]:
        """The point, the constants and the cotangent, on the device."""
        return self._flat, self._constants, self._w

    @property
    def directions(self) -> jax.Array:
        """The table (k, n) that negative lines refer to."""
        return self._table

    def set_directions(self, table: np.ndarray) -> None:
        """Set the directions (k, n) that negative lines refer to."""
        self._table = jax.device_put(table.astype(self.dtype))

    def differences(self, lines: np.ndarray, t: np.ndarray) -> np.ndarray:
        """PROBE.1 along `lines` (m,) at `t` (m, s); returns (m, s)."""
        out = np.empty(t.shape)
        for rows, batch in self.batches(lines):
            for start in range(0, t.shape[1], STEPS):
                columns = slice(start, min(start + STEPS, t.shape[1]))
                steps = self.padded(t[rows, columns], (len(batch), STEPS))
                result, _ = self._real(self._flat, self._constants, self._w, batch, self._table, steps)
                out[rows, columns] = np.asarray(result)[: rows.stop - rows.start, : columns.stop - columns.start]
        return out

    def complex_steps(self, lines: np.ndarray, t: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
        """PROBE.2 along `lines` (m,) with the steps `t` (m,); returns the derivatives, (m,).

        Raises:
            NotAnalyticError: the forward takes no complex numbers, or its output has no imaginary part.
        """
        out = np.empty(len(lines))
        cotangent = self._w if w is None else jnp.asarray(w, self.dtype)
        for rows, batch in self.batches(lines):
            steps = self.padded(t[rows], (len(batch),), fill=1.0)
            out[rows] = self._call_complex(cotangent, batch, steps)[: rows.stop - rows.start]
        if not np.isfinite(out).all():
            raise NotAnalyticError("gives NaN or infinity at complex numbers")
        return out

    def gradient(self, factor: float = 1.0) -> Tensors:
        """The hand-derived gradient, of `<factor * w, f>`; raises whatever the backward raises."""
        dy = (factor * self.w).astype(self.dtype)
        return jax.device_get(self._gradient(self._flat, self._constants, dy))

    def output(self) -> np.ndarray:
        """f at the point, which every difference computes anyway."""
        lines, t = np.zeros(self.lines, np.int32), np.zeros((self.lines, STEPS), self.dtype)
        return np.asarray(self._real(self._flat, self._constants, self._w, lines, self._table, t)[1])

    def _call_complex(self, w: Any, lines: np.ndarray, steps: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a cast that drops the imaginary part: the result shows it
            try:
                return np.asarray(self._complex(self._flat, self._constants, w, lines, self._table, steps))
            # The function was traced at real numbers before (`_output`), where any other error would have been raised.
            # These three are what jax.numpy raises for complex numbers.
            except (TypeError, ValueError, NotImplementedError) as error:
                raise NotAnalyticError(f"takes no complex numbers: {_first_sentence(error)}") from None

    def batches(self, lines: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Batches of one size, so that each program is compiled once."""
        for start in range(0, len(lines), self.lines):
            rows = slice(start, min(start + self.lines, len(lines)))
            batch = np.zeros(self.lines, np.int32)
            batch[: rows.stop - rows.start] = lines[rows]
            yield rows, batch

    def padded(self, array: np.ndarray, shape: tuple[int, ...], fill: float = 0.0) -> np.ndarray:
        full = np.full(shape, fill, self.dtype)
        full[tuple(slice(k) for k in array.shape)] = array
        return full


def _float_type(case: Case, any_float: bool) -> np.dtype:
    types = {name: np.asarray(array).dtype for name, array in case.tensors.items()}
    for name, dtype in types.items():
        if not np.issubdtype(dtype, np.floating):
            raise CheckError(f"{case.name}: {name} has type {dtype}; only floating-point tensors have a gradient")
        if dtype != np.float64 and not any_float:
            raise PrecisionError(
                f"{case.name}: {name} is {dtype}, in which a difference quotient has few correct digits: {WAY_OUT}"
            )
    x64 = jax.config.read("jax_enable_x64")
    if not x64 and not any_float:
        raise PrecisionError(f"{case.name}: JAX computes in float32: {WAY_OUT}")
    return np.result_type(*types.values()) if x64 else np.dtype(np.float32)


def _typical_size(array: np.ndarray) -> float:
    """Root mean square; 1 for a tensor of zeros, which has no size of its own."""
    largest = float(np.abs(array).max(initial=0.0))  # divided by first: the square of 1e200 is infinite
    return largest * float(np.sqrt(np.mean(np.square(array / largest, dtype=np.float64)))) if largest else 1.0


def _fitting_lines(n: int) -> int:
    """How many lines to evaluate at once in a large case. One keeps the cores of a CPU busy, but not an accelerator."""
    if jax.default_backend() == "cpu":
        return 1
    return max(1, min(64, MEMORY // (64 * n)))


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__


def _output(function: Function, layout: Layout, flat: np.ndarray, constants: Tensors, any_float: bool) -> Any:
    """The traced program, and the shape and type of its output. Raises PrecisionError if anything is not float64."""
    traced = jax.make_jaxpr(lambda x, c: function.value(unpack(x, layout), c), return_shape=True)
    jaxpr, output = traced(flat, constants)
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise CheckError(f"the function must return one array, not {type(output).__name__}")
    if not jnp.issubdtype(output.dtype, jnp.floating):
        raise CheckError(
            f"the output is {output.dtype}: return real floating-point numbers, such as real and imaginary part"
        )
    if not any_float:
        if output.dtype != np.float64:
            raise PrecisionError(f"the output is {output.dtype}: {WAY_OUT}")
        for narrow in _narrowed(jaxpr.jaxpr):
            raise PrecisionError(f"the forward narrows float64 to {narrow}, which hides mistakes: {LEAVE_OUT}")
    return jaxpr, output


def _narrowed(jaxpr: Any) -> Iterator[str]:
    """The types narrower than float64 that this program, or one inside it, converts float64 numbers to."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            source, target = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
            if source == np.float64 and jnp.issubdtype(target, jnp.floating) and target != np.float64:
                yield str(target)
        for inner in inner_programs(equation):
            yield from _narrowed(inner)
