"""Evaluates a program that JAX has traced, operation by operation, with another rule for some of the operations.

A traced program (a jaxpr) is a list of equations: an operation, its inputs, its outputs. Programs inside it, such as
compiled functions, loops and branches, are evaluated in the same way. The evaluation can itself be traced and compiled.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax

Rule = Callable[[Any, list[Any]], Sequence[Any]]
"""From an equation and its inputs to its outputs."""

# Programs inside the program.
CALLS = frozenset(
    {"checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit", "remat", "remat2"}
)


def bind(equation: Any, inputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of an operation as it is."""
    found = equation.primitive.bind(*inputs, **equation.params)
    return found if equation.primitive.multiple_results else [found]


def evaluate(program: Any, args: Sequence[Any], rule: Rule, given: Sequence[bool] | None = None) -> list[Any]:
    """The outputs of a jaxpr at `args`, its operations by `rule`. It may be closed, that is with its constants.

    What depends on none of the arguments that are `given` (all by default) is left as it is: it may be a place in an
    array that was computed as a float.
    """
    jaxpr, consts = getattr(program, "jaxpr", program), getattr(program, "consts", ())
    values: dict[Any, Any] = {}
    depends = {v for v, is_given in zip(jaxpr.invars, given or [True] * len(args), strict=True) if is_given}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        flags = [not hasattr(atom, "val") and atom in depends for atom in equation.invars]
        outputs = _apply(equation, inputs, flags, rule if any(flags) else bind)
        values.update(zip(equation.outvars, outputs, strict=True))
        depends.update(equation.outvars if any(flags) else ())
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, inputs: list[Any], given: list[bool], rule: Rule) -> Sequence[Any]:
    name = equation.primitive.name
    if name in CALLS:
        inner = next(value for value in equation.params.values() if hasattr(getattr(value, "jaxpr", value), "eqns"))
        return evaluate(inner, inputs, rule, given)
    return _LOOPS[name](equation.params, inputs, rule) if name in _LOOPS else rule(equation, inputs)


def _scan(params: Any, inputs: list[Any], rule: Rule) -> Sequence[Any]:
    if "ft_in" in params:  # JAX 0.11: constants, carried values and rows, each a tuple
        consts, carried, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        consts, carried = params["num_consts"], params["num_carry"]

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        out = evaluate(params["jaxpr"], [*inputs[:consts], *carry, *x], rule)
        return out[:carried], out[carried:]

    start, xs = inputs[consts : consts + carried], inputs[consts + carried :]
    last, ys = jax.lax.scan(step, start, xs, length=params["length"], reverse=params["reverse"])
    return [*last, *ys]


def _while(params: Any, inputs: list[Any], rule: Rule) -> Sequence[Any]:
    test, body, k, n = params["cond_jaxpr"], params["body_jaxpr"], params["cond_nconsts"], params["body_nconsts"]
    of_test, of_body, start = inputs[:k], inputs[k : k + n], inputs[k + n :]
    return jax.lax.while_loop(
        lambda carry: evaluate(test, [*of_test, *carry], rule)[0],
        lambda carry: evaluate(body, [*of_body, *carry], rule),
        start,
    )


def _cond(params: Any, inputs: list[Any], rule: Rule) -> Sequence[Any]:
    index, *operands = inputs
    branches = [lambda *operands, branch=branch: evaluate(branch, operands, rule) for branch in params["branches"]]
    return jax.lax.switch(index, branches, *operands)


_LOOPS: dict[str, Callable[[Any, list[Any], Rule], Sequence[Any]]] = {"scan": _scan, "while": _while, "cond": _cond}
