"""Layouts: how libraries store the same tensor. A layout is a pair of functions, `forth` to theirs and `back` to ours.

One row of a table may turn one tensor into several (fused q, k, v into separate ones) or combine two, so both functions
take and return tuples. All but `FOLDED_CLASS_TOKEN` only move numbers, so they map gradients as they map parameters.

Shapes     ours: W (D_in, D_out), qkv W (D, 3D) with columns ordered (3, H, K), patch W (P, D) with P ordered (h, w, C)
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Tensors = tuple[np.ndarray, ...]


class Layout(NamedTuple):
    forth: Callable[[Tensors], Tensors]  # from ours to theirs
    back: Callable[[Tensors], Tensors]  # from theirs to ours


class Row(NamedTuple):
    """A row of a table: paths in our tree, joined by "/", and the names in the library."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    layout: Layout


def single(forth: Callable[[np.ndarray], np.ndarray], back: Callable[[np.ndarray], np.ndarray]) -> Layout:
    """The layout of one tensor that stays one."""
    return Layout(lambda ours: (forth(ours[0]),), lambda theirs: (back(theirs[0]),))


SAME = single(lambda a: a, lambda a: a)
TRANSPOSED = single(lambda W: W.T, lambda W: W.T)  # PyTorch's Linear: (D_out, D_in)
ONE_ROW = single(lambda a: a[None, None], lambda a: a.reshape(a.shape[2:]))  # class token: (1, 1, D)
ONE_TABLE = single(lambda a: a[None], lambda a: a.reshape(a.shape[1:]))  # positions: (1, N, D)


def oihw(h: int, w: int) -> Layout:
    """PyTorch's convolution: (D, C, h, w)."""
    return single(
        lambda W: W.reshape(h, w, -1, W.shape[1]).transpose(3, 2, 0, 1),
        lambda W: W.transpose(2, 3, 1, 0).reshape(-1, W.shape[0]),
    )


def hwio(h: int, w: int) -> Layout:
    """Flax's convolution: (h, w, C, D)."""
    return single(lambda W: W.reshape(h, w, -1, W.shape[1]), lambda W: W.reshape(-1, W.shape[3]))


def _thirds(a: np.ndarray) -> list[np.ndarray]:
    return np.split(a, 3, axis=-1)


SEPARATE_WEIGHTS = Layout(  # PyTorch's q, k, v: three of (D, D), transposed
    lambda ours: tuple(W.T for W in _thirds(ours[0])),
    lambda theirs: (np.concatenate([W.T for W in theirs], axis=-1),),
)
SEPARATE_BIASES = Layout(  # three of (D,)
    lambda ours: tuple(_thirds(ours[0])),
    lambda theirs: (np.concatenate(theirs, axis=-1),),
)


def separate_heads(H: int) -> Layout:
    """Flax's q, k, v: kernels (D, H, K), biases (H, K)."""
    return Layout(
        lambda ours: tuple(a.reshape(*a.shape[:-1], H, -1) for a in _thirds(ours[0])),
        lambda theirs: (np.concatenate([a.reshape(*a.shape[:-2], -1) for a in theirs], axis=-1),),
    )


def merged_heads(H: int) -> Layout:
    """Flax's output projection: (H, K, D)."""
    return single(lambda W: W.reshape(H, -1, W.shape[1]), lambda W: W.reshape(-1, W.shape[2]))


FOLDED_CLASS_TOKEN = Layout(
    # big_vision adds positions before it prepends the class token, which so has none: ours, (D,) and (N, D), become a
    # token (1, 1, D) with its position added, and a table (1, n, D). The way back gives the token the position 0.
    lambda ours: ((ours[0] + ours[1][0])[None, None], ours[1][None, 1:]),
    lambda theirs: (
        theirs[0].reshape(theirs[0].shape[2:]),
        np.concatenate([np.zeros_like(theirs[1][0, :1]), theirs[1][0]]),
    ),
)
