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
from model.weights.tables import POSITIONS, paths

Grid = tuple[int, int]


class Sources(NamedTuple):
    """The paths of the parameters of the new model by where they come from."""

    taken: tuple[str, ...]
    resampled: tuple[str, ...]
    drawn: tuple[str, ...]  # as in the new model's `init`
    unused: tuple[str, ...]  # paths of the old model that have no place in the new one


class Fitted(NamedTuple):
    params: Params  # of the new model
    sources: Sources


def find_sources(model: ViT, other: ViT, params: Params, head: bool = True) -> Sources:
    """Where the parameters of `model` come from, where `params` of `other` are at hand, or their shapes alone.

    Args:
        head: whether the head may be taken, which suits no other classes.

    Raises:
        ValueError: nothing of the encoder fits; or the number of heads differs, which no shape shows.
    """
    if model.layers and other.layers and model.heads != other.heads and model.d_model == other.d_model:
        raise ValueError(f"its attention has {other.heads} heads, not {model.heads}: set model.heads={other.heads}")
    if model.positions == "learned":
        other, params = with_learned_positions(other, params)
    old, new = flatten(params), paths(model)
    kinds: dict[str, list[str]] = {"taken": [], "resampled": [], "drawn": []}
    for path, blank in new.items():
        kind = "drawn"
        if path in old and (head or not path.startswith("head/")):
            same_grid = path != POSITIONS or _grid(other) == _grid(model)
            if old[path].shape == blank.shape and same_grid:
                kind = "taken"
            elif path == POSITIONS and model.d_model == other.d_model:
                kind = "resampled"
        kinds[kind].append(path)
    if model.layers and not any(path.startswith("encoder/") and path.endswith("/W") for path in kinds["taken"]):
        raise ValueError("nothing of its encoder fits this model, which has other sizes")
    unused = tuple(path for path in old if path not in new)
    return Sources(tuple(kinds["taken"]), tuple(kinds["resampled"]), tuple(kinds["drawn"]), unused)


def fit(model: ViT, drawn: Params, other: ViT, params: Params, head: bool = True) -> Fitted:
    """The parameters of `model` from those of `other`, and from `drawn`, which `model.init` has drawn.

    Raises:
        ValueError: as `find_sources`.
    """
    sources = find_sources(model, other, params, head)
    if model.positions == "learned":
        other, params = with_learned_positions(other, params)
    old, found = flatten(params), flatten(drawn)
    found |= {path: jnp.asarray(old[path], found[path].dtype) for path in sources.taken}
    for path in sources.resampled:
        found[path] = jnp.asarray(_resampled(other, old[path], model, found[path]), found[path].dtype)
    return Fitted(jax.tree.unflatten(jax.tree.structure(drawn), list(found.values())), sources)


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
