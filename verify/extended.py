"""The rounding errors of functions that are called (verify/called.py): against the same in extended precision.

Operations that cannot be seen cannot be rounded at random. But a function of NumPy arrays computes in the type that it
is given, so with numbers of 64 instead of 53 binary digits (`numpy.longdouble`, on x86) it shows its own rounding
errors. Where there is no such type, or the function does not keep it, nothing is known of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from verify.called import AnyProbe, Called, to_numpy
from verify.case import Tensors

TIMES = 4  # one difference can be small by chance


def extended(array: Any) -> np.ndarray:
    """The array in extended precision; integers as they are."""
    array = np.array(to_numpy(array))
    if np.issubdtype(array.dtype, np.complexfloating):
        return array.astype(np.clongdouble)
    return array.astype(np.longdouble) if np.issubdtype(array.dtype, np.floating) else array


def gradient_error(probe: AnyProbe) -> Tensors:
    """By name, how far the gradient is off; empty if that cannot be found out."""
    exact = probe.gradient()
    found = _tried(lambda: probe.call_gradient(extended))
    if found is None or not all(_is_extended(found.get(name)) for name in exact):
        return {}
    shapes = {name: np.shape(array) for name, array in exact.items()}
    return {name: TIMES * np.abs(exact[name] - found[name]) for name in exact if np.shape(found[name]) == shapes[name]}


def value_error(probe: AnyProbe) -> float:
    """How far `<w, f>` is off; 0 if that cannot be found out."""
    found = _tried(lambda: Called(probe, extended).value(probe.at))
    if not _is_extended(found):
        return 0.0
    return TIMES * float(np.abs(np.sum(probe.w * (found - probe.output()))))


def complex_error(probe: AnyProbe, lines: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """How far the complex step along `lines` (m,) with `steps` (m,) is off, (m,); zeros if that cannot be found out."""
    y = _tried(lambda: Called(probe, extended).value(probe.at + 0j))
    if not _is_extended(y):
        return np.zeros(len(lines))
    found = Called(probe, extended).complex(probe.at, {}, probe.w, lines, probe.directions, steps)
    return TIMES * np.abs(found - probe.complex_steps(lines, steps)).astype(np.float64)


def _is_extended(array: Any) -> bool:
    wide = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps
    return bool(wide) and getattr(array, "dtype", None) in (np.dtype(np.longdouble), np.dtype(np.clongdouble))


def _tried(call: Callable[[], Any]) -> Any:
    """What a call returns; None if it raises, as a function does that takes no such numbers."""
    try:
        return call()
    except Exception:  # the function's own, of whatever kind: it need not take these numbers
        return None
