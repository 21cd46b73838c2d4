"""Decoding image files into the arrays of the cache. Runs in worker processes (data/workers.py)."""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common import files
from common.errors import DataError
from data.form import Target
from data.pictures import FORMATS, JPEG, REDUCED, decoded, is_grey, opened, plain, reason, upright_size
from data.resize import fit


def decode_chunk(task: dict[str, Any]) -> dict[str, Any]:
    """Decode some images into their place in the .npy file of their split.

    Task: `root`, the folder of the data set; `paths` of the images, relative to it; `target`, the fields of a `Target`;
    `output`, the .npy file, and `offset`, the byte at which the first image starts; `cache`, the cache folder, for
    messages.

    Returns the number of `pixels`, their `sums` and the sums of their `squares` per channel (exact integers), the
    `sha256` of all files and the `hashes` of each, how many were `resized`, and what is `broken`: the position of an
    image in `paths`, and why. A broken image is black, and counts in no sum.

    Raises DataError for a file that cannot be read or has another size, and where the output cannot be written.
    """
    root, target = Path(task["root"]), Target(**task["target"])
    pixels = np.zeros((len(task["paths"]), *target.size, target.channels), np.uint8)
    digest, hashes, broken, intact = hashlib.sha256(), [], [], np.ones(len(pixels), bool)
    resized = 0
    for number, path in enumerate(task["paths"]):
        content = read(root / path)
        digest.update(len(content).to_bytes(8, "little") + content)
        hashes.append(hashlib.sha256(content).hexdigest())
        try:
            pixels[number], changed = decode(content, root / path, target)
            resized += changed
        except BrokenImageError as error:
            intact[number] = False
            broken.append((number, error.reason))
    try:
        with open(task["output"], "r+b") as file:
            file.seek(task["offset"])
            file.write(pixels.data)
    except OSError as error:
        raise cannot_write_cache(Path(task["cache"]), error) from error
    # Over the images first: that adds long contiguous rows, which NumPy does with vector instructions.
    sums = pixels.sum(axis=0, dtype=np.uint32)
    squares = np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    return {
        "pixels": int(intact.sum()) * math.prod(target.size),
        "sums": sums.reshape(-1, target.channels).sum(axis=0, dtype=np.uint64).tolist(),
        "squares": squares.reshape(-1, target.channels).sum(axis=0, dtype=np.uint64).tolist(),
        "sha256": digest.hexdigest(),
        "hashes": hashes,
        "resized": resized,
        "broken": broken,
    }


class BrokenImageError(DataError):
    """A file that is no intact image."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}. Replace it, or remove it from the data set.")
        self.reason = why


def decode(content: bytes, path: Path, target: Target) -> tuple[np.ndarray, bool]:
    """One image: the bytes of a file -> uint8 (H, W, channels), upright if EXIF says that the camera was not; and
    whether it had another size.

    Raises BrokenImageError for anything but an intact image, and DataError for one of another size than `same_as`.
    """
    H, W = target.size
    try:
        with opened(content, JPEG if target.jpeg else FORMATS) as image:
            if not target.same_as:
                size = upright_size(image)
                upright = decoded(image, content, _least(size, target))
                return _array(fit(plain(upright, target.channels), (H, W), target.resize)), size != (H, W)
            upright = decoded(image, content)
            if (upright.height, upright.width) == (H, W):
                return _array(plain(upright, target.channels)), False
    except Exception as error:  # Pillow raises many types for damaged files, SyntaxError among them
        raise BrokenImageError(path, reason(error, "JPEG image" if target.jpeg else "image")) from error
    raise DataError(
        f"{path}: {upright.width}x{upright.height} pixels, while {target.same_as} has {W}x{H}; all images must have "
        "the same size. Resize it, or remove it from the data set."
    )


def _array(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _least(size: tuple[int, int], target: Target) -> tuple[int, int]:
    """The least height and width that a JPEG of `size` is decoded to before it is brought to the target."""
    down, across = target.size[0] / size[0], target.size[1] / size[1]
    if target.resize != "squash":
        down = across = max(down, across) if target.resize == "crop" else min(down, across)
    return math.ceil(REDUCED * down * size[0]), math.ceil(REDUCED * across * size[1])


def look_chunk(task: dict[str, Any]) -> list[tuple[int, int, bool] | None]:
    """Height, width and whether it is grey, of each image of a task (`root`, `paths`); None if it is no image.

    Only the beginnings of the files are read. Raises DataError for a file that cannot be read.
    """
    found: list[tuple[int, int, bool] | None] = []
    for path in task["paths"]:
        try:
            with open(Path(task["root"]) / path, "rb") as file:
                found.append(_look(file))
        except OSError as error:
            raise _cannot_read(Path(task["root"]) / path, error) from error
    return found


def _look(file: BinaryIO) -> tuple[int, int, bool] | None:
    try:
        with opened(file) as image:
            return (*upright_size(image), is_grey(image))
    except Exception:  # as in `decode`, which says why
        return None


def inspect_chunk(task: dict[str, Any]) -> list[dict[str, Any]]:
    """What there is to know of each image of a task (`root`, `paths`): `height`, `width`, `format`, `grey`, `hash` (of
    the file), and `problem`: why it is broken, or ""."""
    found = []
    for path in task["paths"]:
        content = read(Path(task["root"]) / path)
        about = {"height": 0, "width": 0, "format": "", "grey": False, "problem": ""}
        try:
            with opened(content) as image:
                height, width = upright_size(image)
                about |= {"height": height, "width": width, "format": image.format, "grey": is_grey(image)}
                plain(decoded(image, content, (1, 1)), 3)
        except Exception as error:  # as in `decode`
            about["problem"] = reason(error, "image")
        found.append(about | {"hash": hashlib.sha256(content).hexdigest()})
    return found


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a JPEG file, upright. Raises DataError if it is none."""
    content = read(path)
    try:
        with opened(content, JPEG) as image:
            upright = decoded(image, content)
            return upright.height, upright.width
    except Exception as error:
        raise BrokenImageError(path, reason(error, "JPEG image")) from error


def cannot_write_cache(cache: Path, error: OSError) -> DataError:
    """The error for a cache folder that is full or not writable."""
    existing = next(path for path in (cache, *cache.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free / 1e9
    return DataError(
        f"{cache}: the cache cannot be written: {files.reason(error)}. It needs a byte for each number of each image, "
        f"12.3 kB for 64x64 pixels in colour; {free:.2f} GB are free there. Free some space, fix the permissions, or "
        "name another cache folder with data.cache=DIR."
    )


def read(path: Path) -> bytes:
    """Raises DataError if the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read: {files.reason(error)}. Fix the file or its permissions.")
