"""Parameters of one model as the beginning of another: what fits is taken, positions are resampled, the rest is drawn.

Positions on another grid are resampled as pictures are: bicubically and, where the grid shrinks, with a kernel that
grows by the same factor (antialiased), as timm does. The position of the class token is in no grid, and stays.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.layer import Params
from model.vit import ViT
from model.weights.maps import flatten, with_learned_positions
from model.weights.tables import POSITIONS

Grid = tuple[int, int]


class Fitted(NamedTuple):
    """`params` of the new model, and the paths of its parameters by where they come from."""

    params: Params
    taken: tuple[str, ...]
    resampled: tuple[str, ...]
    drawn: tuple[str, ...]  # as in the new model's `init`
    unused: tuple[str, ...]  # paths of the old model that have no place in the new one


def fit(model: ViT, drawn: Params, other: ViT, params: Params, head: bool = True) -> Fitted:
    """The parameters of `model` from those of `other`.

    Args:
        drawn: what `model.init` has drawn.
        head: whether the head may be taken, which suits no other classes.

    Raises:
        ValueError: nothing of the encoder fits; or the number of heads differs, which no shape shows.
    """
    if model.layers and other.layers and model.heads != other.heads and model.d_model == other.d_model:
        raise ValueError(f"its attention has {other.heads} heads, not {model.heads}: set model.heads={other.heads}")
    if model.positions == "learned":
        other, params = with_learned_positions(other, params)
    old, new = flatten(params), flatten(drawn)
    found: dict[str, jax.Array] = {}
    kinds: dict[str, list[str]] = {"taken": [], "resampled": [], "drawn": []}
    for path, blank in new.items():
        kind, array = "drawn", blank
        if path in old and (head or not path.startswith("head/")):
            same_grid = path != POSITIONS or _grid(other) == _grid(model)
            if old[path].shape == blank.shape and same_grid:
                kind, array = "taken", old[path]
            elif path == POSITIONS and model.d_model == other.d_model:
                kind, array = "resampled", _resampled(other, old[path], model, blank)
        kinds[kind].append(path)
        found[path] = jnp.asarray(array, blank.dtype)
    if model.layers and not any(path.startswith("encoder/") and path.endswith("/W") for path in kinds["taken"]):
        raise ValueError("nothing of its encoder fits this model, which has other sizes")
    tree = jax.tree.unflatten(jax.tree.structure(drawn), list(found.values()))
    unused = tuple(path for path in old if path not in new)
    return Fitted(tree, tuple(kinds["taken"]), tuple(kinds["resampled"]), tuple(kinds["drawn"]), unused)


def resample(table: jax.Array, old: Grid, new: Grid) -> jax.Array:
    """A table of positions (rows * columns, D) on another grid."""
    width = table.shape[-1]
    grid = jax.image.resize(table.reshape(*old, width), (*new, width), "cubic", antialias=True)
    return grid.reshape(-1, width)


def _grid(model: ViT) -> Grid:
    return model.patch_embedding.patchify.grid


def _resampled(other: ViT, old: jax.Array, model: ViT, drawn: jax.Array) -> jax.Array:
    """With the class token's position in front, if `model` has one; where `other` has none, it is the drawn one."""
    patches = jnp.asarray(old[int(other.class_token) :])
    table = resample(patches, _grid(other), _grid(model)) if _grid(other) != _grid(model) else patches
    first = (old if other.class_token else drawn)[: int(model.class_token)]
    return jnp.concatenate([jnp.asarray(first), table])
