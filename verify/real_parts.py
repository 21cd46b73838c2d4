"""Products of complex matrices as products of their real and imaginary parts, for a complex step on a GPU.

(a + i b) (c + i d) = (a c - b d) + i (a d + b c)                                                        (PARTS.1)

A GPU's library may compute only three real products (Gauss): with s = (a + b) (c + d), the imaginary part is
s - a c - b d. An imaginary part of 1e-24 is lost in such a sum, and with it the derivative. On an NVIDIA H200 this was
seen for matrices of 65x65, and for stacks of them, but not of 8x8. PARTS.1 adds no large numbers to small ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from verify.interpreter import bind, evaluate

BILINEAR = frozenset({"dot_general", "conv_general_dilated"})


def in_real_parts(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` with all its products of complex matrices computed by PARTS.1. It must be traceable by JAX."""

    def g(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), evaluate(closed, jax.tree.leaves(args), _in_parts))

    return g


def _in_parts(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    if equation.primitive.name not in BILINEAR or not any(jnp.iscomplexobj(x) for x in inputs):
        return bind(equation, inputs)
    kind = equation.params.get("preferred_element_type")
    real = {} if kind is None else {"preferred_element_type": jnp.zeros((), kind).real.dtype}

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        return equation.primitive.bind(x, y, **{**equation.params, **real})

    (a, b), (c, d) = ((jnp.real(x), jnp.imag(x)) for x in inputs)
    return [jax.lax.complex(product(a, c) - product(b, d), product(a, d) + product(b, c))]  # PARTS.1
