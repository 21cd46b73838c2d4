"""Checkpoints: a tree of arrays and some JSON in one `.npz` file, which is written atomically.

The file is an uncompressed zip archive. Each array is a `.npy` member named by its path in the tree, as in
`params/encoder/block_0/attention/qkv/W.npy`, so `numpy.load` opens it too; the member `checkpoint.json` holds the JSON.
Nothing is pickled, so opening a checkpoint from a stranger runs no code. The checksums of zip reveal a damaged file.
Names, shapes and types are compared with those of the model before the values are read, so that a small file cannot
ask for much memory.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.documents import parse_json
from common.errors import CheckpointError, DamagedError
from common.files import replacing
from common.text import first_of
from data.arrays import Header, member_array, member_header, open_zip, read_member, require_stored

FORMAT = 1
HEADER = "checkpoint.json"
NAMED = 3  # a message names so many tensors and counts the others
FLOATS = (np.float16, np.float32, np.float64)
ELSE = "; use another checkpoint, or train again"
LARGEST_HEADER = 2**20  # bytes of checkpoint.json


def save(path: str | os.PathLike[str], tree: Any, meta: dict[str, Any]) -> None:
    """Write the arrays of `tree` and the JSON object `meta` to `path`.

    An existing file at `path` stays until the new one is complete on the disk.

    Raises:
        OSError: the file cannot be written; it names `path`.
        TypeError, ValueError: a leaf is not an array of numbers, or `meta` is not strict JSON, which has no NaN.
    """
    header = json.dumps({"format": FORMAT, "meta": meta}, allow_nan=False)
    names = [name for name, _ in _named_leaves(tree)]
    arrays = [_as_numbers(name, leaf) for name, leaf in zip(names, jax.device_get(jax.tree.leaves(tree)), strict=True)]
    with replacing(Path(path)) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), header)
        for name, array in zip(names, arrays, strict=True):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a checkpoint by their paths in the tree, as in `params/head/W`, and its `meta`.

    Raises:
        CheckpointError: the file is missing, damaged or not a checkpoint.
        OSError: it cannot be read.
    """
    with _opened(Path(path)) as (archive, meta):
        return {name: _read_array(archive, name) for name in _array_names(archive)}, meta


def load_meta(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The `meta` of a checkpoint, whose arrays are not read. Raises what `load` does."""
    with _opened(Path(path)) as (_, meta):
        return meta


def restore(
    path: str | os.PathLike[str], template: Any, part: str = "", any_precision: bool = False
) -> tuple[Any, dict[str, Any]]:
    """The arrays of a checkpoint in the tree of `template`, and its `meta`.

    `template` is a tree of arrays, or of `jax.ShapeDtypeStruct` as `jax.eval_shape` returns them. With `part="params"`
    it is the template of that branch of the saved tree, and the rest of the file is not read. With `any_precision`, a
    tensor of floats may have another floating-point type than in `template`, and keeps it.

    Raises:
        CheckpointError: as for `load`, or the tensors differ from those of `template` in names, shapes or types.
        OSError: it cannot be read.
    """
    path, prefix = Path(path), f"{part}/" if part else ""
    expected = {prefix + name: _as_struct(leaf) for name, leaf in _named_leaves(template)}
    with _opened(path) as (archive, meta):
        saved = [name for name in _array_names(archive) if name.startswith(prefix)]
        _check_names(path, expected, saved)
        for name, struct in expected.items():
            _check_array(path, name, struct, member_header(archive, name, f"{path}: {name}"), any_precision)
        arrays = {name: _read_array(archive, name) for name in expected}
    return jax.tree.unflatten(jax.tree.structure(template), list(arrays.values())), meta


def branches(path: str | os.PathLike[str]) -> set[str]:
    """The branches at the root of the saved tree, such as `params` and `optimizer`.

    Raises:
        CheckpointError: as for `load`.
        OSError: it cannot be read.
    """
    with _opened(Path(path)) as (archive, _):
        return {name.partition("/")[0] for name in _array_names(archive)}


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    if len(dict(named)) < len(named):
        raise ValueError("two leaves of the tree have the same name: a key of a dictionary must not contain '/'")
    return named


def _as_numbers(name: str, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has type {array.dtype}: a checkpoint holds booleans, integers and floats")
    return array


def _as_struct(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else np.asarray(leaf)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """The archive and its meta. Damaged bytes raise CheckpointError, whether found here or in the block."""
    try:
        with open_zip(path) as archive:
            if HEADER not in archive.namelist():
                raise CheckpointError(f"{path}: not a checkpoint of this program: it has no {HEADER}")
            require_stored(path, archive)
            header = parse_json(read_member(archive, HEADER, str(path), LARGEST_HEADER), Any, f"{path}: {HEADER}")
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                found = header.get("format") if isinstance(header, dict) else None
                raise CheckpointError(
                    f"{path}: written in format {found}, but this version reads format {FORMAT}: "
                    "use the version of the program that wrote it"
                )
            if not isinstance(header.get("meta"), dict):
                raise CheckpointError(f"{path}: damaged: {HEADER} has no meta")
            yield archive, header["meta"]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint; check the path, or train first") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: a folder, where a checkpoint (.npz) is expected") from None
    except DamagedError as error:
        raise CheckpointError(f"{error}{ELSE}") from error
    except OSError as error:
        error.filename = str(path)
        raise


def _array_names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return member_array(archive, name, f"{archive.filename}: {name}")


def _check_names(path: Path, expected: Iterable[str], saved: Iterable[str]) -> None:
    missing, extra = sorted(set(expected) - set(saved)), sorted(set(saved) - set(expected))
    if missing or extra:
        kinds = (("it lacks", missing), ("it also has", extra))
        differences = [f"{what} {first_of(names, NAMED)}" for what, names in kinds if names]
        raise CheckpointError(
            f"{path}: of another model: {'; '.join(differences)}. Use the model configuration that it was trained with"
        )


def _check_array(path: Path, name: str, expected: Any, array: Header, any_precision: bool) -> None:
    if array.shape != tuple(expected.shape):
        raise CheckpointError(
            f"{path}: of another model: {name} has shape {array.shape}, but the configured model wants "
            f"{tuple(expected.shape)}. Use the model configuration that it was trained with"
        )
    if any_precision and np.dtype(expected.dtype).kind == "f" and array.dtype in FLOATS:
        return
    if array.dtype != expected.dtype:
        raise CheckpointError(
            f"{path}: {name} has type {array.dtype}, but the configured model wants {expected.dtype}. "
            "Use the precision (JAX_ENABLE_X64) that it was trained with"
        )
