"""What is random in training: drawn from one PRNG key for the whole batch, or from one key for each of its images.

With a key for each image, (B,), what is drawn for an image depends on nothing but its own key. Then the numbers are the
same however the batch is cut into microbatches, and whichever device computes an image.
"""

from collections.abc import Callable

import jax


def split_key(key: jax.Array, count: int) -> list[jax.Array]:
    """`count` independent keys of the shape of `key`: a single one, or (B,), one for each image."""
    if _is_one(key):
        return list(jax.random.split(key, count))
    keys = jax.vmap(lambda own: jax.random.split(own, count))(key)  # (B, count)
    return [keys[:, i] for i in range(count)]


def key_of_each(key: jax.Array, images: int) -> jax.Array:
    """A key for each of `images` images, (B,), from a single one; `key` itself where it is that already."""
    return jax.random.split(key, images) if _is_one(key) else key


def draw(
    sample: Callable[[jax.Array, tuple[int, ...]], jax.Array], key: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    """`sample(key, shape)`; with a key for each image, `sample(key[b], shape[1:])` for each b, (B, ...)."""
    return sample(key, shape) if _is_one(key) else jax.vmap(lambda own: sample(own, shape[1:]))(key)


def _is_one(key: jax.Array) -> bool:
    """Whether this is a single key. A key of the old kind, `jax.random.PRNGKey`, is an array of two integers."""
    return key.ndim == 0 or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
