"""Does the compiler compute what the program says? The compiled program against its operations one by one.

A compiler fuses operations, and may do so wrongly. The program then returns wrong numbers, however right its
derivation. So a function is compiled as a whole, as its caller would compile it, and computed once more with NumPy, one
operation after another (verify/by_numpy.py). Where the two differ by more than rounding explains (verify/agreement.py),
the compiler is wrong.

Rounding adds up over a long program. `compare_regions` therefore compares short runs of operations as well, each
compiled by itself from the values of the reference. `locate` finds the shortest run that the compiler gets wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax

from verify.agreement import Comparison, compared
from verify.by_numpy import apply, rounded
from verify.flat import Flat, flatten, read, to_numpy, variables
from verify.interpreter import bind

REGION = 48  # operations that are compiled by themselves
Compiler = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Culprit:
    """The operation that the compiler gets wrong, or the last one of several that it gets wrong together."""

    operation: str
    place: str
    together: tuple[str, ...]  # the other operations, in their order
    comparison: Comparison

    def __str__(self) -> str:
        c = self.comparison
        others = f", compiled together with {_listed(self.together)}" if self.together else ""
        unit = f" of {c.scale:.0f} numbers differ" if not c.dtype.startswith(("float", "bfloat")) else ""
        size = f"{c.difference:.0f}{unit}" if unit else f"off by {c.difference:.1e}, where its largest is {c.scale:.1e}"
        at = f" ({self.place})" if self.place else ""
        shape = " x ".join(map(str, c.shape)) or "1"
        return f"{self.operation}{at}{others}: {c.dtype} {shape}, {size} and rounding allows {c.allowed:.1e}"


def compare(f: Callable[..., Any], *args: Any, jit: Compiler = jax.jit) -> list[Comparison]:
    """`f(*args)` compiled as a whole against its operations one by one, for each array that it returns."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    flat, leaves = flatten(closed), jax.tree.leaves(args)
    found = [to_numpy(x) for x in jax.tree.leaves(jit(f)(*args))]
    expected = flat.evaluate(leaves, apply)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(shape)]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") or "output" for path in paths]
    return compared(names, found, expected, lambda seed: flat.evaluate(leaves, partial(_rounded, seed)))


def compare_regions(
    f: Callable[..., Any], *args: Any, jit: Compiler = jax.jit, size: int = REGION, offset: int = 0
) -> Iterator[Culprit]:
    """The runs of `size` operations, from number `offset` on, that the compiler gets wrong. Equal runs count once."""
    flat = flatten(jax.make_jaxpr(f)(*args))
    values, seen = flat.start(jax.tree.leaves(args)), set()
    for start, stop in _runs(len(flat.operations), size, offset):
        region = Region(flat, start, stop)
        flat.run(values, apply, start, stop)
        if region.signature not in seen:
            seen.add(region.signature)
            if region.wrong(values, jit) is not None:
                yield _shortest(flat, start, stop, values, jit)
        values = {v: x for v, x in values.items() if flat.last_use.get(v, -1) >= stop}


def locate(f: Callable[..., Any], *args: Any, jit: Compiler = jax.jit) -> Culprit | None:
    """The shortest run of operations of `f` that the compiler gets wrong; None if only `f` as a whole is wrong."""
    flat = flatten(jax.make_jaxpr(f)(*args))
    values = flat.start(jax.tree.leaves(args))
    flat.run(values, apply)
    n = len(flat.operations)
    return _shortest(flat, 0, n, values, jit) if Region(flat, 0, n).wrong(values, jit) is not None else None


@dataclass(frozen=True)
class Region:
    """A run of operations, as a program from the values that they find to those that others need."""

    flat: Flat
    start: int
    stop: int

    @property
    def operations(self) -> Sequence[Any]:
        return self.flat.operations[self.start : self.stop]

    @property
    def inputs(self) -> list[int]:
        made = {v for operation in self.operations for v in operation.outputs}
        return sorted({v for operation in self.operations for v in variables(operation.inputs)} - made)

    @property
    def outputs(self) -> list[int]:
        made = [v for operation in self.operations for v in operation.outputs]
        return [v for v in made if self.flat.last_use.get(v, -1) >= self.stop]

    @property
    def signature(self) -> str:
        """Equal for regions of the same operations on the same shapes."""
        short: dict[int, int] = {}
        lines = []
        for operation in self.operations:
            atoms = [
                short.setdefault(a, len(short)) if isinstance(a, int) else a.value.tobytes() for a in operation.inputs
            ]
            made = [short.setdefault(v, len(short)) for v in operation.outputs]
            kinds = [str(x.aval) for x in (*operation.equation.invars, *operation.equation.outvars)]
            lines.append(f"{operation.name} {operation.equation.params} {atoms} {made} {kinds}")
        return "\n".join([*lines, str([short[v] for v in self.outputs])])

    def __call__(self, *inputs: Any) -> list[Any]:
        values = dict(zip(self.inputs, inputs, strict=True))
        for operation in self.operations:
            outputs = bind(operation.equation, read(operation.inputs, values))
            values.update(zip(operation.outputs, outputs, strict=True))
        return read(self.outputs, values)

    def wrong(self, values: dict[int, Any], jit: Compiler) -> tuple[int, Comparison] | None:
        """The first of its outputs that differs, with its variable; `values` are those of the reference."""
        inputs, outputs = self.inputs, self.outputs
        if not outputs:
            return None
        args = [values[v] for v in inputs]
        found = [to_numpy(x) for x in jit(self.__call__)(*args)]

        def again(seed: int) -> list[Any]:
            own = dict(zip(inputs, args, strict=True))
            self.flat.run(own, partial(_rounded, seed), self.start, self.stop)
            return read(outputs, own)

        rows = compared([""] * len(outputs), found, read(outputs, values), again)
        return next(((v, row) for v, row in zip(outputs, rows, strict=True) if row.differs), None)


def _runs(n: int, size: int, offset: int) -> Iterator[tuple[int, int]]:
    cuts = sorted({0, n, *range(offset, n, size)})
    return pairwise(cuts)


def _shortest(flat: Flat, start: int, stop: int, values: dict[int, Any], jit: Compiler) -> Culprit:
    """Halve a region that is wrong while one of its halves is, then take operations off both of its ends."""

    def wrong(start: int, stop: int) -> bool:
        return Region(flat, start, stop).wrong(values, jit) is not None

    while stop - start > 1:
        middle = (start + stop) // 2
        if wrong(start, middle):
            stop = middle
        elif wrong(middle, stop):
            start = middle
        else:  # both halves are right, so what is wrong lies across the middle
            start = _last(start, middle, partial(_swapped, wrong, stop))
            stop = -_last(-stop, -middle, lambda negative, start=start: wrong(start, -negative))  # type: ignore[misc]
            break
    found = Region(flat, start, stop).wrong(values, jit)
    assert found is not None, "a region that was wrong a moment ago"
    variable, comparison = found
    makers = {v: operation for operation in flat.operations[start:stop] for v in operation.outputs}
    chain, front = [], [variable]
    while front:
        operation = makers.pop(front.pop(), None)
        if operation is not None and operation not in chain:
            chain.append(operation)
            front += variables(operation.inputs)
    guilty, *others = chain
    order = {id(operation): i for i, operation in enumerate(flat.operations[start:stop])}
    names = [operation.name for operation in sorted(others, key=lambda operation: order[id(operation)])]
    return Culprit(guilty.name, guilty.place, tuple(names), comparison)


def _swapped(f: Callable[[int, int], bool], second: int, first: int) -> bool:
    return f(first, second)


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The last number from `low`, where it holds, to before `high`, where it does not hold."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rounded(seed: int, equation: Any, inputs: list[Any]) -> Sequence[Any]:
    return rounded(equation, inputs, seed)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
