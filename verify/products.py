"""A square matrix whose transpose was forgotten: the shapes fit, and only the numbers are wrong.

For y = x W, dx = d W^T, where d is the gradient that reaches the product. A backward that forgets the transpose has
d W. Whatever comes after the product, d = dx W^-T follows from the measured dx, and so does d W, which is compared with
what the backward returned.

If dx has another part as well, as in a residual, d cannot be found in this way. Then the difference is compared with
d (W - W^T), where d is dy, or dy times a gain.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from verify.factors import CLOSE

CONDITION = 1e8  # a matrix that is nearer to singular cannot be inverted here


def untransposed(analytic: np.ndarray, numeric: np.ndarray, others: Mapping[str, np.ndarray]) -> str | None:
    """What to say of a gradient (..., D) that comes from a product with a matrix (D, D) of `others`, if it is this."""
    if analytic.ndim < 1 or analytic.shape[-1] < 2:
        return None
    D = analytic.shape[-1]
    a, n = analytic.reshape(-1, D), numeric.reshape(-1, D)
    for name, W in others.items():
        if W.shape != (D, D) or name == "dy" or not np.isfinite(W).all() or _same(W, W.T):
            continue
        for right, wrong, words in (
            (W.T, W, f"{name} is not transposed: the product should be with {name}^T"),
            (W, W.T, f"{name} is transposed, but the product should be with {name} itself"),
        ):
            if np.linalg.cond(right) < CONDITION and _same(np.linalg.solve(right.T, n.T).T @ wrong, a):
                return words
            if any(_same(d @ (wrong - right), a - n) for d in _upstream(a.shape, others)):
                return words
    return None


def _upstream(shape: tuple[int, ...], others: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """Gradients that may reach the product: dy, and dy times a gain."""
    dy = others.get("dy")
    if dy is None or dy.size != shape[0] * shape[1]:
        return
    dy = dy.reshape(shape)
    yield dy
    yield from (dy * gain for gain in others.values() if gain.shape == shape[-1:])


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= CLOSE * max(np.abs(a).max(), np.abs(b).max()))
