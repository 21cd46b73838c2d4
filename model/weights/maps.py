"""A table, read in both directions: a tree of parameters to named arrays, and back.

`to_names` and `from_names` are inverse to each other, up to the position of a class token in big_vision (layouts.py).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.layer import Params
from model.vit import ViT
from model.weights.namings import Arrays, Naming
from model.weights.tables import paths

HEAD = "head"
NAMED = 3  # a message names so many arrays and counts the others


class Found(NamedTuple):
    params: Params
    dropped: tuple[str, ...]  # what was left out, as in "vit.pooler.dense.weight (the pooler, ...)"


def flatten(params: Any) -> dict[str, Any]:
    """The arrays of a tree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def with_learned_positions(model: ViT, params: Params) -> tuple[ViT, Params]:
    """The same function with its sinusoids as a table of parameters, which every other library can hold."""
    if model.positions in ("learned", "none"):
        return model, params
    inner = model.position_embedding
    empty = jnp.zeros(
        (1, model.patch_embedding.patchify.grid[0] * model.patch_embedding.patchify.grid[1], model.d_model)
    )
    token = {"class_token": jnp.zeros(model.d_model)} if model.class_token else {}
    table = np.asarray(inner.forward(token, empty)[0][0], dtype=float)
    positions = dict(params["position_embedding"]) | {"positions": table}
    return replace(model, positions="learned"), dict(params) | {"position_embedding": positions}


def to_names(naming: Naming, model: ViT, params: Params) -> Arrays:
    """The parameters (or gradients) of `model` under the names and in the layouts of a library, as its files have them.

    `params` may lack the head, as those of an encoder that was trained without labels do.

    Raises:
        ValueError: the library has no such model.
    """
    naming.require(model)
    ours = flatten(params)
    theirs: Arrays = {}
    for row in naming.table(model):
        if HEAD not in params and row.ours[0].startswith(f"{HEAD}/"):
            continue
        arrays = row.layout.forth(tuple(np.asarray(ours.pop(path)) for path in row.ours))
        theirs |= dict(zip(row.theirs, arrays, strict=True))
    if ours:
        raise ValueError(f"{naming.title} has no place for {_some(list(ours))}")
    return {name: np.ascontiguousarray(array) for name, array in naming.written(theirs).items()}


def from_names(naming: Naming, model: ViT, arrays: Mapping[str, np.ndarray]) -> Found:
    """The tree of parameters of `model` from named arrays, in their types, and what was left out.

    Raises:
        ValueError: an array is missing, has another shape, or has no place in the model. One message tells all of it.
    """
    naming.require(model)
    given = naming.spelled(dict(arrays))
    rows, shapes = naming.table(model), paths(model)
    expected: dict[str, tuple[int, ...]] = {}
    for row in rows:
        blanks = row.layout.forth(tuple(np.zeros(shapes[path].shape, np.float32) for path in row.ours))
        expected |= {name: blank.shape for name, blank in zip(row.theirs, blanks, strict=True)}
    dropped, extra = sort_out(naming, [name for name in given if name not in expected])
    problems = _problems(expected, given, extra)
    if problems:
        raise ValueError("; ".join(problems))
    ours: dict[str, np.ndarray] = {}
    for row in rows:
        ours |= dict(zip(row.ours, row.layout.back(tuple(given[name] for name in row.theirs)), strict=True))
    template = jax.eval_shape(model.init, jax.random.key(0))
    structure = jax.tree.structure(template)
    return Found(jax.tree.unflatten(structure, [ours[path] for path in shapes]), dropped)


def sort_out(naming: Naming, names: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Of names that have no place in a model: those that may be left out, with what they are, and the others.

    Raises:
        ValueError: one belongs to a model of another kind.
    """
    dropped, extra = [], []
    for name in names:
        other = next((reason for pattern, reason in naming.unlike.items() if re.search(pattern, name)), None)
        if other:
            raise ValueError(f"{name}: this model has {other}, which a ViT of this project has not")
        reason = next((reason for pattern, reason in naming.dropped.items() if re.search(pattern, name)), None)
        dropped += [f"{name} ({reason})"] if reason else []
        extra += [] if reason else [name]
    return tuple(dropped), extra


def _problems(expected: Mapping[str, tuple[int, ...]], given: Arrays, extra: list[str]) -> list[str]:
    missing = [name for name in expected if name not in given]
    wrong = [
        f"{name} has shape {given[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in given and given[name].shape != shape
    ]
    wrong += [
        f"{name} has type {given[name].dtype}, not numbers with fractions"
        for name in expected
        if name in given and not jnp.issubdtype(given[name].dtype, jnp.floating)
    ]
    kinds = [("it lacks ", missing), ("it also has ", extra), ("", wrong)]
    return [f"{what}{_some(names)}" for what, names in kinds if names]


def _some(names: list[str]) -> str:
    rest = f", and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
