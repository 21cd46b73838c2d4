"""A place where XLA must finish one thing before the next: on a CPU the whole augmentation takes a tenth with it."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def settled(values: jax.Array) -> jax.Array:
    """The same values, computed once before all that read them: uint8 (..., C) -> uint8 (..., C), C at most 4.

    XLA likes to compute a value anew wherever it is read, which is right for a sum and wrong for a lookup behind a
    lookup: each of nine neighbours would do the whole history of its pixel again. `optimization_barrier` alone does not
    keep it from that on a CPU. Packed into words of 32 bits and unpacked behind the barrier, the pixels are stored.
    """
    C = values.shape[-1]
    padded = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 4 - C)])
    words = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(padded, jnp.uint32))
    return jax.lax.bitcast_convert_type(words, jnp.uint8)[..., :C]
