"""Functions and layers that remember: what they return depends on more than their arguments.

Where f(x) != f(x), there is no derivative to compare with. A traced function is traced again, and the two programs are
compared, their constants included: what is drawn from np.random while a function is traced becomes a constant. A
function that is called is called again.

A layer that keeps its input outside the cache has the right gradient only if no other forward has come in between.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FunctionType, ModuleType
from typing import Any

import jax
import numpy as np

from verify.analytic import Analytic, analytic_gradient
from verify.called import AnyProbe
from verify.generators import drawn_from, generators
from verify.traced import inner_programs

AGAIN = 16  # times that a function is tried that drew from a global generator
EQUATIONS = 400  # a program of so many operations is traced once more, a small one up to four times
ROUNDING = 1e4  # a change of so many eps of the largest output is none: threads may add in another order

OUTDATED = "the gradient is right only if no other forward has come in between; let forward return it in the cache"
DRAWS = "draw random numbers beforehand and pass them in, and keep nothing between calls"


def not_repeatable(probe: AnyProbe) -> str:
    """Why the function has no derivative: it returns something else each time. Empty if it does not."""
    if probe.called is not None:
        y = probe.output()
        found = _changes(4, lambda: _differs(y, probe.output(), probe.eps))
    else:
        found = _program_changes(probe.jaxpr, probe.trace)
    if found is None and probe.called is None and probe.drawn:
        with suppress(Exception), jax.disable_jit():  # a jitted function keeps what it drew when it was compiled
            found = _program_changes(probe.trace(), probe.trace)
    if found is None:
        return ""
    return f"the function returns something else each time, so f(x) != f(x){found}: {DRAWS}"


def gradient_not_repeatable(probe: AnyProbe) -> str:
    """What to say of a backward that returns something else each time. Empty if it does not."""
    if probe.gradient_is_traced:
        found = _program_changes(probe.trace_gradient(), probe.trace_gradient)
    else:
        first = probe.gradient()
        arrays = [np.abs(array).max(initial=0.0) for array in first.values() if array is not None]
        largest = float(max(arrays, default=0.0))

        def differs() -> bool:
            again = probe.gradient()
            both = [name for name in first if first[name] is not None and again.get(name) is not None]
            return any(_differs(first[name], again[name], probe.eps, largest) for name in both)

        found = _changes(2, differs)
    return "" if found is None else f"the backward returns something else each time{found}: {DRAWS}"


def outdated(probe: AnyProbe) -> tuple[Analytic, str] | None:
    """The gradient of a layer if nothing comes between the forward and the backward, and what to say if only that one
    is right. None for a function that has no such gradient."""
    function: Any = probe.case.function
    if not hasattr(function, "without_another_forward"):
        return None
    before = attributes(function.layer)
    alone = replace(probe.case, function=function.without_another_forward())
    gradient = analytic_gradient(AnyProbe(alone, np.random.default_rng(0), w=probe.w, any_float=True))
    names = changed(before, attributes(function.layer))
    where = f" ({', '.join(names)})" if names else ""
    return gradient, f"the layer keeps something outside its cache{where}: {OUTDATED}"


def _program_changes(program: Any, trace: Callable[[], Any]) -> str | None:
    """As `_changes`, for a program that `trace()` makes anew. That the first differs from all others does not count: it
    may have filled a cache."""
    last, equations = list(_content(program)), sum(1 for _ in _equations(program.jaxpr))
    times = min(max(EQUATIONS // (equations + 1), 1), 4)

    def differs() -> bool:
        nonlocal last
        before, last = last, list(_content(trace()))
        return last != before

    found = _changes(times, differs)
    return None if found is None else _changes(times, differs)


def _changes(times: int, differs: Callable[[], bool]) -> str | None:
    """Where the changes come from, in words, if `differs()` is ever true; None if not.

    It is asked more often where a global generator was drawn from: a mask of few numbers may be the same by chance.
    """
    drawn = ""
    for attempt in range(AGAIN):
        if attempt >= times and not drawn:
            break
        before = generators()
        differ = differs()
        drawn = drawn or drawn_from(before)
        if differ:
            return f" (it draws from {drawn})" if drawn else ""
    return None


def _differs(a: np.ndarray, b: np.ndarray, eps: float, largest: float = 0.0) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return True
    largest = max(largest, float(np.abs(a[np.isfinite(a)]).max(initial=0.0)))
    return not np.allclose(a, b, rtol=0.0, atol=ROUNDING * eps * largest, equal_nan=True)


# A traced program as values that can be compared.


def _equations(program: Any) -> Iterator[Any]:
    for equation in program.eqns:
        yield equation
        for inner in inner_programs(equation):
            yield from _equations(inner)


def _content(closed: Any) -> Iterator[Any]:
    """The operations of a program with their literals and settings, and all constants."""
    yield from map(_comparable, closed.consts)
    for equation in _equations(closed.jaxpr):
        yield equation.primitive.name
        yield from (_comparable(v.val) for v in equation.invars if hasattr(v, "val"))
        for name, value in equation.params.items():
            yield from (_comparable(constant) for constant in getattr(value, "consts", ()))
            if isinstance(value, int | float | complex | np.ndarray | tuple | list):
                yield name, _comparable(value)


def _comparable(value: Any) -> Any:
    """Something that equals another exactly if the values are equal; None for what is no number."""
    if isinstance(value, tuple | list):
        return tuple(map(_comparable, value))
    if isinstance(value, int | float | complex | str | bool):
        return repr(value)
    if not hasattr(value, "dtype") or jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return None
    array = np.asarray(value)
    return array.shape, array.dtype.name, array.tobytes()


# What a layer keeps on itself.


def attributes(layer: Any, path: str = "self", depth: int = 3) -> dict[str, Any]:
    """The values that a layer holds, and those of the objects in it, by path, as in `self.norm.x`."""
    held = vars(layer) if hasattr(layer, "__dict__") else layer if isinstance(layer, dict) else {}
    found = {}
    for name, value in held.items():
        inner = f"{path}[{name!r}]" if isinstance(layer, dict) else f"{path}.{name}"
        found[inner] = value
        if depth > 1 and not hasattr(value, "dtype") and not isinstance(value, type | FunctionType | ModuleType):
            found |= attributes(value, inner, depth - 1)
    return found


@contextmanager
def attributes_kept(layer: Any) -> Iterator[None]:
    """A context after which a layer holds what it held before: an array that was traced is of no use to anybody."""
    before = dict(getattr(layer, "__dict__", {}))
    try:
        yield
    finally:
        for name in [n for n, value in getattr(layer, "__dict__", {}).items() if before.get(n) is not value]:
            if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(vars(layer)[name])):
                vars(layer).pop(name)
                vars(layer).update({name: before[name]} if name in before else {})


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The attributes that hold something else now: arrays if there are any, else everything."""
    names = [name for name, value in after.items() if name not in before or before[name] is not value]
    names = [name for name in names if not any(name.startswith((f"{outer}.", f"{outer}[")) for outer in names)]
    arrays = [name for name in names if any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(after[name]))]
    return arrays or names
