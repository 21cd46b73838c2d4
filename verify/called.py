"""Functions that JAX cannot trace: of NumPy or PyTorch arrays, or with an `if` on a value.

A function that can be traced is compiled (verify/probe.py). Any other is called, once for every point that a method
asks for: the same measurements, only slower. It is given the first kind of array that it accepts, of NumPy's, JAX's and
PyTorch's; so is the backward, by itself, for the one may be traced where the other cannot be.

What is computed between the points of one call cannot be seen, so a conversion to float32 on the way is not noticed as
it is in a traced program.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.case import Case, Tensors
from verify.errors import WAY_OUT, CheckError, PrecisionError
from verify.generators import drawn_from, generators
from verify.probe import Probe
from verify.programs import NotAnalyticError
from verify.traced import primitives

TRACER_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
CALLBACKS = ("pure_callback", "io_callback")  # primitives that call Python from a compiled program
Convert = Callable[[Any], Any]


def kinds() -> Iterator[tuple[str, Convert]]:
    """The kinds of arrays to call a function with. Each converts a NumPy array, and always copies it."""
    yield "NumPy", np.array
    yield "JAX", jnp.array
    torch = sys.modules.get("torch")  # a function of its tensors has imported it
    if torch is not None:
        yield "PyTorch", lambda array: torch.from_numpy(np.array(array))


def to_numpy(array: Any) -> np.ndarray:
    """A NumPy array of any kind of array."""
    for method in ("detach", "cpu", "resolve_conj", "resolve_neg"):  # of PyTorch's tensors
        array = getattr(array, method)() if hasattr(array, method) else array
    return np.asarray(array)


def about_tracing(error: Exception) -> bool:
    """Whether an error comes from the arrays without values with which JAX traces a function."""
    return isinstance(error, TRACER_ERRORS) or "Tracer" in str(error)


class AnyProbe(Probe):
    """A probe of a function that is traced if possible, and called if not.

    Raises:
        PrecisionError, CheckError: as `Probe`; the function accepts no kind of array.
    """

    def __init__(self, case: Case, rng: np.random.Generator, **options: Any) -> None:
        self.called: Called | None = None
        before = generators()
        try:
            super().__init__(case, rng, **options)
            self.drawn = drawn_from(before)  # the global generator of random numbers that the function drew from
        except CheckError:
            raise
        except Exception as error:  # only the function runs here, and it may raise anything
            reason: Exception | None = error
        else:
            reason = None
            if not any(equation in CALLBACKS for equation in primitives(self.jaxpr.jaxpr)):
                self._gradient = AnyGradient(self, self._gradient)
                return
        self._call(case, rng, reason, options)

    def _call(self, case: Case, rng: np.random.Generator, reason: Exception | None, options: dict[str, Any]) -> None:
        """Prepare to call the function, which cannot be traced for this `reason`."""
        convert, output = _accepted(case, reason)
        if output.dtype != np.float64 and not options.get("any_float"):
            raise PrecisionError(f"{case.name}: the output is {output.dtype}: {WAY_OUT}")
        super().__init__(replace(case, function=Outline(output.shape, output.dtype.name)), rng, **options)
        self.case = case
        self.called = Called(self, convert)
        self.lines = self.at_once = 1  # a line at a time: what fills up a batch would be computed for nothing
        self._real, self._complex = self.called.real, self.called.complex
        self._gradient = AnyGradient(self, None)

    @property
    def gradient_is_traced(self) -> bool:
        """Whether the hand-derived gradient is compiled, as far as is known."""
        return self._gradient.compiled is not None

    @property
    def at(self) -> np.ndarray:
        """The point, (n,)."""
        return np.asarray(self._flat)

    def call_gradient(self, convert: Convert) -> Tensors:
        """The hand-derived gradient, called with one kind of array."""
        gradient: AnyGradient = self._gradient
        return gradient.called(self.at, self.w, convert)

    def trace(self) -> Any:
        """The function's program, traced once more."""
        value = self.case.function.value
        return jax.make_jaxpr(lambda x, constants: value(_unpack(self, x), constants))(self._flat, self._constants)

    def trace_gradient(self) -> Any:
        """The program of the hand-derived gradient, traced once more."""
        gradient = self.case.function.gradient
        program = jax.make_jaxpr(lambda x, constants, dy: gradient(_unpack(self, x), constants, dy))
        return program(self._flat, self._constants, self.w)


def _accepted(case: Case, reason: Exception | None) -> tuple[Convert, np.ndarray]:
    """The first kind of array that the function accepts, and its output."""
    first: Exception | None = None
    for _, convert in kinds():
        try:
            tensors = {name: convert(to_numpy(array)) for name, array in case.tensors.items()}
            output = case.function.value(tensors, _constants(case.constants, convert))
            return convert, _one_array(output)
        except CheckError:
            raise
        except Exception as error:  # of another kind of array, or a mistake in the function
            first = first or error
    if reason is not None and not about_tracing(reason):
        raise reason
    if isinstance(first, jax.errors.UnexpectedTracerError):
        raise first
    if isinstance(first, TypeError | AttributeError):
        raise CheckError(
            f"{case.name}: the function can be checked neither with JAX's arrays nor with NumPy's: let it take NumPy "
            f"arrays and return one ({_words(first)})"
        ) from first
    raise first or AssertionError("there is a kind of array")


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _one_array(output: Any) -> np.ndarray:
    if isinstance(output, tuple | list | dict) or output is None:
        raise CheckError(f"the function must return one array, not {type(output).__name__}")
    array = to_numpy(output)
    if array.dtype == object:
        raise CheckError(f"the function must return one array, not {type(output).__name__}")
    return array


def _constants(constants: Tensors, convert: Convert) -> Tensors:
    """The constants with their arrays converted; PRNG keys stay JAX's."""
    return jax.tree.map(lambda leaf: convert(leaf) if isinstance(leaf, np.ndarray) else leaf, constants)


@dataclass(frozen=True)
class Outline:
    """A function of which only the shape and the type of the output are known."""

    shape: tuple[int, ...]
    dtype: str

    def value(self, tensors: Tensors, constants: Tensors) -> jax.Array:
        return jnp.zeros(self.shape, self.dtype)

    def gradient(self, tensors: Tensors, constants: Tensors, dy: jax.Array) -> Tensors:
        raise CheckError("an outline has no gradient")


class Called:
    """What `verify/probe.py` compiles, for a function that is called: the same arguments, the same results."""

    def __init__(self, probe: Probe, convert: Convert) -> None:
        self.function, self.constants, self.convert = probe.case.function, probe.case.constants, convert
        self.unpack = partial(_unpack, probe)

    def value(self, point: np.ndarray) -> np.ndarray:
        """The output at a point (n,)."""
        tensors = {name: self.convert(array) for name, array in self.unpack(point).items()}
        return _one_array(self.function.value(tensors, _constants(self.constants, self.convert)))

    def _near(self, point: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The output; NaN where the function raises an error of arithmetic, as `math.log(-1)` does."""
        try:
            return self.value(point)
        except (ArithmeticError, ValueError):
            return np.full(shape, np.nan)

    def real(self, flat: Any, constants: Tensors, w: Any, lines: Any, table: Any, t: Any) -> Any:
        """PROBE.1 along `lines` (m,) at `t` (m, s), and the output at the point."""
        flat, w, table, t = (np.asarray(array) for array in (flat, w, table, t))
        y = self.value(flat)
        out = np.zeros(t.shape)
        for i, line in enumerate(lines):
            v = _direction(int(line), table)
            for j in np.flatnonzero(t[i]):
                out[i, j] = np.sum(w * (self._near(flat + t[i, j] * v, y.shape) - y))  # PROBE.1
        return out, y

    def complex(self, flat: Any, constants: Tensors, w: Any, lines: Any, table: Any, t: Any) -> np.ndarray:
        """PROBE.2 along `lines` (m,) with the steps `t` (m,)."""
        flat, w, table, t = (np.asarray(array) for array in (flat, w, table, t))
        out = np.empty(len(t))
        for i, line in enumerate(lines):
            y = self._at_complex(flat + 1j * (t[i] * _direction(int(line), table)))
            if not np.issubdtype(y.dtype, np.complexfloating):
                raise NotAnalyticError(f"drops the imaginary part: its output is {y.dtype}")
            out[i] = np.sum(w * y.imag) / t[i]  # PROBE.2
        return out

    def _at_complex(self, point: np.ndarray) -> np.ndarray:
        try:
            return self.value(point)
        except RuntimeError as error:  # PyTorch's, of an operation that takes no complex numbers
            if "complex" not in str(error).casefold():
                raise
            raise NotAnalyticError(f"takes no complex numbers: {_words(error)}") from None


def _unpack(probe: Probe, point: Any) -> Tensors:
    """The tensors of a probe at a point (n,)."""
    return {name: point[probe.span[name]].reshape(probe.shapes[name]) for name in probe.names}


def _direction(line: int, table: np.ndarray) -> np.ndarray:
    if line < 0:
        return table[-1 - line]
    v = np.zeros(table.shape[1], table.dtype)
    v[line] = 1
    return v


class AnyGradient:
    """The hand-derived gradient: compiled (`compiled`, or None), and called where it cannot be traced."""

    def __init__(self, probe: Probe, compiled: Any) -> None:
        self.compiled = compiled
        self.function, self.constants = probe.case.function, probe.case.constants
        self.unpack = partial(_unpack, probe)
        self._convert: Convert | None = None

    def __call__(self, flat: Any, constants: Tensors, dy: Any) -> Tensors:
        reason: Exception | None = None
        if self.compiled is not None:
            try:
                return require_named(self.compiled(flat, constants, dy))
            except CheckError:
                raise
            except Exception as error:  # a backward may raise anything
                reason = error
        found = self._call(np.asarray(flat), np.asarray(dy), reason)
        self.compiled = None
        return found

    def _call(self, flat: np.ndarray, dy: np.ndarray, reason: Exception | None) -> Tensors:
        first: Exception | None = None
        for convert in [self._convert] if self._convert else [convert for _, convert in kinds()]:
            try:
                found = self.called(flat, dy, convert)
                self._convert = convert
                return found
            except CheckError:
                raise
            except Exception as error:  # of another kind of array, or a mistake in the backward
                first = first or error
        raise (reason if reason is not None and not about_tracing(reason) else first) or AssertionError

    def called(self, flat: np.ndarray, dy: np.ndarray, convert: Convert) -> Tensors:
        """The gradient at a point (n,), with one kind of array."""
        tensors = {name: convert(array) for name, array in self.unpack(flat).items()}
        found = self.function.gradient(tensors, _constants(self.constants, convert), convert(dy))
        return {n: None if a is None else to_numpy(a) for n, a in require_named(found).items()}


def require_named(gradient: Any) -> Tensors:
    """Raise CheckError unless `gradient` is a dict of arrays by the names of the tensors."""
    if not isinstance(gradient, dict):
        kind = type(gradient).__name__
        raise CheckError(f"gradient must return a dict of arrays by the names of the tensors, not {kind}")
    return gradient
