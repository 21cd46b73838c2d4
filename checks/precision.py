"""The error of the gradient in lower precision, against float64, tensor by tensor.

Parameters and images are cast to float32, as in training; for half precision the model is the one that training takes
with `model.dtype=bfloat16`. The float64 gradient, which the rest of this package verifies, is the reference; no
differences are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from checks.full_size import Point
from model.precision import Precision
from verify.case import Tensors
from verify.results import short, wrapped

TYPES: tuple[Precision, ...] = ("float32", "bfloat16")
NAME = 36  # columns of a tensor's name; a row fits a terminal of 80


@dataclass(frozen=True)
class PrecisionRow:
    """One tensor: by type, the error of its gradient relative to the norm, and the cosine with the exact gradient.

    Both are None where the exact gradient is zero, as that of the keys' bias.
    """

    name: str
    norm: float  # of the float64 gradient
    errors: dict[str, float | None]
    cosines: dict[str, float | None]


def compare_precisions(point: Point) -> list[PrecisionRow]:
    """A row for each tensor, the images among them, and one for all parameters together."""
    exact = point.gradients()
    rough: dict[str, Tensors] = {kind: _in(kind, point) for kind in TYPES}
    floor = 1e-13 * max(float(np.linalg.norm(array)) for array in exact.values())
    rows = [_row(name, [exact[name]], {kind: [g[name]] for kind, g in rough.items()}, floor) for name in exact]
    names = list(point.params)
    together = {kind: [g[name] for name in names] for kind, g in rough.items()}
    return [*rows, _row("all parameters", [exact[name] for name in names], together, floor)]


def _in(kind: Precision, point: Point) -> Tensors:
    params = {name: jnp.asarray(array, jnp.float32) for name, array in point.params.items()}
    model, images = replace(point.model, dtype=kind), jnp.asarray(point.images, jnp.float32)
    cast = replace(point, model=model, params=params, images=images)
    return {name: np.asarray(array).astype(np.float64) for name, array in cast.gradients(dtype="float32").items()}


def _row(name: str, exact: Sequence[np.ndarray], rough: dict[str, list[np.ndarray]], floor: float) -> PrecisionRow:
    reference = np.concatenate([np.ravel(array) for array in exact])
    norm = float(np.linalg.norm(reference))
    errors: dict[str, float | None] = {}
    cosines: dict[str, float | None] = {}
    for kind, arrays in rough.items():
        found = np.concatenate([np.ravel(array) for array in arrays])
        known = norm > floor
        errors[kind] = float(np.linalg.norm(found - reference) / norm) if known else None
        size = float(np.linalg.norm(found))
        cosines[kind] = float(found @ reference / (size * norm)) if known and size else None
    return PrecisionRow(name, norm, errors, cosines)


def precision_lines(rows: Sequence[PrecisionRow], every: bool) -> list[str]:
    """A table of all tensors, or of the three with the largest error in each type."""
    title = "The gradient in lower precision against float64: error relative to the norm, and 1 - cosine"
    head = f"  {'tensor':<{NAME}} {'norm':>8}" + "".join(f"{kind:>16}" for kind in TYPES)
    shown = list(rows)
    if not every:
        worst = {
            row.name
            for kind in TYPES
            for row in sorted(rows[:-1], key=lambda row, kind=kind: -(row.errors[kind] or 0))[:3]  # type: ignore[misc]
        }
        shown = [row for row in rows if row.name in worst or row is rows[-1]]
        title += " (the worst; all with --precision)"
    return [*wrapped([title]), head, *(_line(row) for row in shown)]


def _line(row: PrecisionRow) -> str:
    cells = [
        "zero by theory" if error is None else f"{error:.1e}  {1 - (row.cosines[kind] or 0):.0e}"
        for kind, error in row.errors.items()
    ]
    return f"  {short(row.name, NAME):<{NAME}} {row.norm:>8.2e}" + "".join(f"{cell:>16}" for cell in cells)
