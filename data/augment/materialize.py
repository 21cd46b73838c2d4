"""Forcing XLA to store an intermediate result. On a CPU this makes the augmentation ten times faster."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def materialize(values: jax.Array) -> jax.Array:
    """The same values, stored in memory before anything reads them: uint8 (..., C) -> uint8 (..., C), C at most 4.

    XLA fuses cheap operations into their consumers, and so computes a value again for each of them. That pays for a
    sum, but not for a gather of a gather: a filter over 3 x 3 pixels would compute all preceding operations nine times
    per pixel. On a CPU, `optimization_barrier` alone does not prevent the fusion. Packing the pixels into 32-bit words
    and unpacking them behind the barrier does.
    """
    C = values.shape[-1]
    padded = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 4 - C)])
    words = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(padded, jnp.uint32))
    return jax.lax.bitcast_convert_type(words, jnp.uint8)[..., :C]
