"""A traced program as one flat list of operations, with the compiled functions inside it written out.

Loops and branches remain single operations; `Flat.run` takes a loop's turns one after another.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verify.interpreter import CALLS

JAX = os.path.dirname(os.path.realpath(jax.__file__)) + os.sep
Rule = Callable[[Any, list[Any]], Sequence[Any]]
"""From an equation and its inputs, arrays of NumPy, to its outputs."""


@dataclass(frozen=True)
class Constant:
    """An input that is a number in the program."""

    value: np.ndarray


@dataclass(frozen=True)
class Operation:
    """One operation. Its inputs and outputs are numbered variables of the program."""

    equation: Any
    inputs: tuple[int | Constant, ...]
    outputs: tuple[int, ...]
    caller: Any  # the equation whose traceback tells the place: of a function of jax.numpy its call

    @property
    def name(self) -> str:
        return self.equation.primitive.name

    @property
    def place(self) -> str:
        """Where it was written, as in `model/layers/gelu.py:42, GELU.forward`; empty where JAX does not know."""
        traceback = self.caller.source_info.traceback
        for frame in traceback.frames if traceback is not None else ():
            if not os.path.realpath(frame.file_name).startswith(JAX):
                path = os.path.relpath(frame.file_name)
                path = frame.file_name if path.startswith(os.pardir) else path
                return f"{path}:{frame.line_num}, {frame.function_name}"
        return ""


@dataclass
class Flat:
    """The operations of a program in their order. Variables 0 to `inputs - 1` are its inputs."""

    operations: list[Operation] = field(default_factory=list)
    outputs: list[int | Constant] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    inputs: int = 0
    variables: int = 0

    @cached_property
    def last_use(self) -> dict[int, int]:
        """By variable, the position of the last operation that reads it; outputs are read after all of them."""
        found = {v: i for i, operation in enumerate(self.operations) for v in variables(operation.inputs)}
        return found | dict.fromkeys(variables(self.outputs), len(self.operations))

    def start(self, args: Sequence[Any]) -> dict[int, Any]:
        """The values that the first operation finds."""
        return {**self.constants, **{i: to_numpy(x) for i, x in enumerate(args)}}

    def run(self, values: dict[int, Any], rule: Rule, start: int = 0, stop: int | None = None) -> None:
        """Add to `values` what the operations from `start` to `stop` make of them, one by one."""
        for operation in self.operations[start:stop]:
            outputs = one_by_one(operation.equation, read(operation.inputs, values), rule)
            values.update(zip(operation.outputs, outputs, strict=True))

    def evaluate(self, args: Sequence[Any], rule: Rule) -> list[Any]:
        """The outputs, one operation after another. What is not needed any more is dropped on the way."""
        values = self.start(args)
        for i, operation in enumerate(self.operations):
            self.run(values, rule, i, i + 1)
            for v in {*variables(operation.inputs), *operation.outputs}:
                if self.last_use.get(v, i) <= i:
                    del values[v]
        return read(self.outputs, values)


def flatten(closed: Any) -> Flat:
    """A jaxpr with its constants, such as `jax.make_jaxpr` returns, as a flat list."""
    flat = Flat(inputs=len(closed.jaxpr.invars), variables=len(closed.jaxpr.invars))
    flat.outputs = _append(flat, closed, list(range(flat.inputs)), None)
    return flat


def _append(flat: Flat, closed: Any, args: Sequence[int | Constant], caller: Any) -> list[int | Constant]:
    """Append the operations of a program at `args`; return where its outputs are."""
    jaxpr, consts = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
    numbers: dict[Any, int | Constant] = dict(zip(jaxpr.invars, args, strict=True))
    for variable, value in zip(jaxpr.constvars, consts, strict=True):
        numbers[variable] = flat.variables
        flat.constants[flat.variables] = to_numpy(value)
        flat.variables += 1

    def where(atom: Any) -> int | Constant:
        return Constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else numbers[atom]

    for equation in jaxpr.eqns:
        inputs = tuple(where(atom) for atom in equation.invars)
        if equation.primitive.name in CALLS:
            inner = program_inside(equation)
            numbers.update(
                zip(equation.outvars, _append(flat, inner, inputs, caller or _caller(equation, inner)), strict=True)
            )
            continue
        outputs = tuple(range(flat.variables, flat.variables + len(equation.outvars)))
        flat.variables += len(outputs)
        flat.operations.append(Operation(equation, inputs, outputs, caller or equation))
        numbers.update(zip(equation.outvars, outputs, strict=True))
    return [where(atom) for atom in jaxpr.outvars]


def program_inside(equation: Any) -> Any:
    return next(value for value in equation.params.values() if hasattr(getattr(value, "jaxpr", value), "eqns"))


def _caller(call: Any, inner: Any) -> Any:
    """The call, if what is called is a function of JAX: it is traced once, and remembers only its first caller."""
    source = getattr(getattr(inner, "jaxpr", inner).debug_info, "func_src_info", None) or ""
    return call if JAX in source else None


def one_by_one(equation: Any, inputs: list[Any], rule: Rule) -> Sequence[Any]:
    """The outputs of an operation; of a loop or branch, those of the operations in it."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _scan(params, inputs, rule)
    if name == "while":
        test, body, k, n = params["cond_jaxpr"], params["body_jaxpr"], params["cond_nconsts"], params["body_nconsts"]
        carry = inputs[k + n :]
        while flatten(test).evaluate([*inputs[:k], *carry], rule)[0]:
            carry = flatten(body).evaluate([*inputs[k : k + n], *carry], rule)
        return carry
    if name == "cond":
        index, *operands = inputs
        branches = params["branches"]
        return flatten(branches[min(max(int(index), 0), len(branches) - 1)]).evaluate(operands, rule)
    return rule(equation, inputs)


def _scan(params: Any, inputs: list[Any], rule: Rule) -> Sequence[Any]:
    body = flatten(params["jaxpr"])
    if "ft_in" in params:  # JAX 0.11: constants, carried values and rows, each a tuple
        consts, carried, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        consts, carried = params["num_consts"], params["num_carry"]
    carry, rows = inputs[consts : consts + carried], inputs[consts + carried :]
    turns = range(params["length"])
    found: list[Any] = [None] * params["length"]
    for i in reversed(turns) if params["reverse"] else turns:
        out = body.evaluate([*inputs[:consts], *carry, *(to_numpy(row[i]) for row in rows)], rule)
        carry, found[i] = out[:carried], out[carried:]
    columns = zip(*found, strict=True)
    return [*carry, *(np.stack(y) if isinstance(y[0], np.ndarray) else jnp.stack(y) for y in columns)]


def to_numpy(x: Any) -> Any:
    """An array of NumPy, unless it holds PRNG keys."""
    return x if jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended) else np.asarray(x)


def variables(atoms: Iterable[int | Constant]) -> list[int]:
    return [atom for atom in atoms if isinstance(atom, int)]


def read(atoms: Iterable[int | Constant], values: Mapping[int, Any]) -> list[Any]:
    return [values[atom] if isinstance(atom, int) else atom.value for atom in atoms]
