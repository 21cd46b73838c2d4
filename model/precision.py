"""Half precision: products and activations in bfloat16, everything that adds up many numbers in float32.

A bfloat16 has the range of a float32 and 8 of its 24 significant bits, so rounding to it errs by up to 2^-8, or 0.4%.
That is enough for an activation, thousands of which are averaged in a product, and a GPU multiplies such matrices
several times as fast. It is not enough for a sum: 256 + 1 is 256. So whatever sums keeps float32: the inside of a
product, means and variances, softmax, the gradients of parameters, which are sums over all tokens, the parameters
themselves, to which small steps are added, and the loss.

The three functions below do nothing to other types, so a layer says with them what it would do in half precision.
"""

import jax
import jax.numpy as jnp


def is_half(x: jax.Array) -> bool:
    """Whether `x` is of half precision."""
    return x.dtype == jnp.bfloat16


def wide(x: jax.Array) -> jax.Array:
    """`x` in float32 if it is of half precision, else `x`: to be summed."""
    return x.astype(jnp.float32) if is_half(x) else x


def narrow(x: jax.Array, like: jax.Array) -> jax.Array:
    """`x` in half precision if `like` is, else `x`: a parameter on its way to the activations `like`."""
    return x.astype(like.dtype) if is_half(like) else x


def wide_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a @ b`; of factors in half precision not only the sums are float32, but also the result."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32) if is_half(a) else a @ b
