"""Automatic differentiation as the oracle: it never enters the engine, and here it judges every backward pass."""

from typing import Any

import jax
import numpy as np

from model.layer import Layer, Params


def normal(seed: int, *shape: int) -> Any:
    """Standard normal numbers in JAX's default float."""
    return np.random.default_rng(seed).normal(size=shape).astype(jax.dtypes.canonicalize_dtype(float))


def like(tree: Any, seed: int) -> Any:
    """Standard normal numbers in the tree and shapes of `tree`."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [normal(1000 * seed + i, *leaf.shape) for i, leaf in enumerate(leaves)])


def random_params(layer: Layer) -> Params:
    """All parameters far from their initial values: behind a zero head every gradient is zero, and zero fits all."""
    return jax.tree.map(lambda leaf: 0.5 * leaf, like(jax.eval_shape(layer.init, jax.random.key(0)), seed=1))


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Same tree, shapes and types; in each tensor the norm of the difference is at most `tolerance` of the norm."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        assert a.shape == b.shape, f"{name}: {a.shape} against {b.shape}"
        assert a.dtype == b.dtype, f"{name}: {a.dtype} against {b.dtype}"
        error, size = np.linalg.norm(np.ravel(a) - np.ravel(b)), np.linalg.norm(np.ravel(b))
        assert error <= tolerance * size + 1e-15, f"{name}: relative error {error / size:.1e}"


def assert_backward_is_vjp(layer: Layer, x: Any, key: jax.Array | None = None) -> None:
    """`backward` equals `jax.vjp` of the layer's own `forward`, for a random cotangent, to 1e-12 in every tensor."""

    def both(params: Params, x: jax.Array, dy: jax.Array) -> tuple[Any, Any]:
        _, vjp = jax.vjp(lambda params, x: layer.forward(params, x, key)[0], params, x)
        dparams, dx = vjp(dy)
        _, cache = layer.forward(params, x, key)
        return layer.backward(params, cache, dy), (dx, dparams)

    params = random_params(layer)
    y = jax.eval_shape(lambda params, x: layer.forward(params, x, key)[0], params, x)
    ours, oracle = jax.jit(both)(params, x, normal(99, *y.shape))
    assert_close(ours, oracle)
