"""Gradient clipping by global norm (Pascanu et al. 2013, arXiv:1211.5063).

norm    = sqrt(sum of the squares of all elements of all tensors)            (CLIP.1)
clipped = grads * min(1, max_norm / norm)                                    (CLIP.2)

All tensors are scaled by one number, so the direction of the gradient does not change.

In float32 the square of 1e20 is infinite and that of 1e-25 is zero. So CLIP.1 is computed in units of a power of two
near the largest element: dividing by it rounds nothing, and the square of the largest element is between 1 and 4.
"""

import jax
import jax.numpy as jnp

from optim import Params


def global_norm(tree: Params) -> jax.Array:
    """Euclidean norm of all elements of a tree of arrays, a scalar. 0 for a tree without arrays."""
    leaves = jax.tree.leaves(tree)
    unit = power_of_two(jnp.stack([jnp.abs(leaf).max(initial=0) for leaf in leaves]).max()) if leaves else 1.0
    scaled = (leaf / jnp.asarray(unit, leaf.dtype) for leaf in leaves)
    return unit * jnp.sqrt(sum((jnp.sum(leaf * leaf) for leaf in scaled), start=jnp.zeros(())))  # CLIP.1


def clip_by_global_norm(grads: Params, max_norm: float) -> tuple[Params, jax.Array]:
    """Return `(clipped, norm)`: gradients of global norm at most `max_norm`, and their norm before clipping.

    Raises:
        ValueError: `max_norm` is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    norm = global_norm(grads)
    scale = max_norm / jnp.maximum(norm, max_norm)  # min(1, max_norm / norm), without 0 / 0 for zero gradients
    return jax.tree.map(lambda gradient: gradient * scale.astype(gradient.dtype), grads), norm  # CLIP.2


def power_of_two(size: jax.Array) -> jax.Array:
    """The largest power of two that is at most `size`, element by element; 1 for 0 and for what is not finite."""
    _, exponent = jnp.frexp(size)
    return jnp.where(jnp.isfinite(size) & (size > 0), jnp.ldexp(jnp.ones_like(size), exponent - 1), 1)
