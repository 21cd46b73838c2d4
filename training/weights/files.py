"""Files of named arrays: `.safetensors` and `.npz`. Nothing is executed from a file: a pickle is never opened.

Both formats are checked before memory is taken: `.npz` by data/arrays.py, `.safetensors` by the package of that name,
which refuses headers of more than 100 MB, tensors that overlap or leave gaps, and types that it does not know.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.documents import fit, read_json
from common.errors import DamagedError, UserError
from common.files import replacing
from common.memory import format_bytes, machine_memory
from common.text import first_of
from data.arrays import RAW_16, member_array, open_zip, require_stored

INDEX = ".index.json"  # of a model in several files
NAMED = 3  # arrays in a message
SUFFIXES = (".safetensors", ".npz")
INSTALL = "the package safetensors is not installed: pip install -r requirements-weights.txt"
PICKLE = (
    "a pickle, which could run code and is never opened. Convert it with PyTorch: `safetensors.torch.save_file("
    "torch.load(FILE, weights_only=True), 'weights.safetensors')`"
)
FLOATS = ("F64", "F32", "F16", "BF16")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names. Floats of any precision come in JAX's default type.

    Raises:
        UserError: the file is damaged, or no file of arrays, or larger than memory; or safetensors is not installed.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder without model.safetensors or model.npz; name a file")
    if path.name.endswith(INDEX):
        return _read_parts(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path}: no file of weights, but a device or a pipe")
    with open(path, "rb") as file:
        begins = file.read(9)
    _require_memory(path, path.stat().st_size)
    if begins[8:] == b"{":  # first of all: the length before it may have the bytes by which the others begin
        arrays = _read_safetensors(path)
    elif begins[:2] == b"PK":
        arrays = _read_npz(path)
    elif begins[:1] == b"\x80":
        raise DamagedError(f"{path}: {PICKLE}")
    elif path.suffix == ".safetensors":
        arrays = _read_safetensors(path)
    else:
        raise DamagedError(f"{path}: no file of weights; expected {' or '.join(SUFFIXES)}")
    if not arrays:
        raise DamagedError(f"{path}: there are no arrays in it")
    return {name: _in_default_float(array) for name, array in arrays.items()}


def _require_memory(path: Path, size: int) -> None:
    memory = machine_memory()
    if memory is not None and size > memory:
        raise UserError(f"{path}: {format_bytes(size)}, and this machine has {format_bytes(memory)} of memory")


def _read_parts(index: Path) -> dict[str, np.ndarray]:
    """The arrays of a model in several files, of which an index says which has which."""
    try:
        known: dict[str, Any] = read_json(index, dict[str, Any])
        files: dict[str, str] = fit(dict[str, str], known.get("weight_map", {}), "weight_map")
    except ValueError as error:
        raise DamagedError(f"{index}: damaged ({error})") from None
    arrays: dict[str, np.ndarray] = {}
    for name in sorted(set(files.values())):
        if Path(name).name != name or name.endswith(INDEX):
            raise DamagedError(f"{index}: damaged ({name} is no file beside it)")
        part = index.with_name(name)
        if not part.exists():
            raise UserError(f"{part}: missing, but {index.name} lists it")
        _require_memory(index, part.stat().st_size + sum(array.nbytes for array in arrays.values()))
        arrays |= read_arrays(part)
    missing = [f"{name} ({file})" for name, file in files.items() if name not in arrays]
    if missing or not arrays:
        raise DamagedError(f"{index}: damaged (there is no {first_of(missing, NAMED) or 'array in it'})")
    return arrays


def _in_default_float(array: np.ndarray) -> np.ndarray:
    if array.dtype == RAW_16:
        array = array.view(jnp.bfloat16)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        floats = jnp.issubdtype(array.dtype, jnp.floating)
        return array.astype(jax.dtypes.canonicalize_dtype(float)) if floats else array


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with open_zip(path) as archive:
        names = archive.namelist()
        if any(name.endswith("data.pkl") for name in names):
            raise DamagedError(f"{path}: {PICKLE}")
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise DamagedError(f"{path}: compressed, so it could unpack to any size; write it again by numpy.savez")
        require_stored(path, archive)
        members = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
        return {name: member_array(archive, name, f"{path}: {name}", raw_16=True) for name in members}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    package = _safetensors()
    try:
        with package.safe_open(path, framework="np") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - it is no dict
            unknown = [
                f"{name} ({kind})" for name, kind in kinds.items() if kind not in FLOATS and kind[0] not in "BIU"
            ]
            if unknown:
                raise DamagedError(f"{path}: {unknown[0]} is neither floats of 16 bits or more nor integers")
            return {name: file.get_tensor(name) for name in kinds}
    except package.SafetensorError as error:
        raise DamagedError(f"{path}: damaged or cut short ({error})") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a new file, whole or not at all. The ending of its name is one of SUFFIXES.

    Raises:
        UserError: safetensors is not installed.
        OSError: the file cannot be written.
    """
    if path.suffix == ".npz":
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
        return
    content = _safetensors().numpy.save(dict(arrays), metadata={"format": "pt"})  # without which transformers refuses
    with replacing(path) as file:
        file.write(content)


def require_writer(path: Path) -> None:
    """Raises UserError if `write_arrays` could not write such a file. Asked before long work."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: the name of a file of weights ends in {' or '.join(SUFFIXES)}; a new folder has no ending"
        )
    if path.suffix == ".safetensors":
        _safetensors()


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise UserError(INSTALL) from error
    package: ModuleType = safetensors
    return package
