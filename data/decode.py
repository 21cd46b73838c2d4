"""Decoding JPEG files into the arrays of the cache. Runs in worker processes (data/workers.py)."""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common import files
from common.errors import DataError
from data.jpeg import damage


def decode_chunk(task: dict[str, Any]) -> dict[str, Any]:
    """Decode some images into their place in the .npy file of their split.

    Task: `root`, the folder of the data set; `paths` of the images, relative to it; `size`, the height and width that
    they must have, and `first_file`, the image that set it; `output`, the .npy file, and `offset`, the byte at which
    the first image starts; `cache`, the cache folder, for messages.

    Returns the number of `pixels`, their `sums` and the sums of their `squares` per channel (exact integers), and the
    `sha256` of the files.

    Raises DataError for a file that is not an intact JPEG of that size, and where the output cannot be written.
    """
    root, size = Path(task["root"]), tuple(task["size"])
    pixels = np.empty((len(task["paths"]), *size, 3), np.uint8)
    digest = hashlib.sha256()
    for row, path in zip(pixels, task["paths"], strict=True):
        content = _read(root / path)
        digest.update(len(content).to_bytes(8, "little") + content)
        row[...] = decode(content, root / path, size, task["first_file"])
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
        "pixels": pixels.size // 3,
        "sums": sums.reshape(-1, 3).sum(axis=0, dtype=np.uint64).tolist(),
        "squares": squares.reshape(-1, 3).sum(axis=0, dtype=np.uint64).tolist(),
        "sha256": digest.hexdigest(),
    }


def decode(content: bytes, path: Path, size: tuple[int, ...], first_file: str) -> np.ndarray:
    """One image: the bytes of a file -> uint8 (H, W, 3), turned upright if EXIF says that the camera was not.

    Greyscale becomes three equal channels. Raises DataError for anything but an intact JPEG of `size` = (H, W).
    """
    try:
        with warnings.catch_warnings(action="ignore"), _open(content) as image:
            upright = _upright(image)
            if (upright.height, upright.width) == size:
                problem = damage(content)
                if problem:
                    raise ValueError(problem)
                return _pixels(upright)
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except Exception as error:  # Pillow raises many types for damaged files, SyntaxError among them
        raise DataError(
            f"{path}: not an intact JPEG image ({_describe(error)}). Replace it, or remove it from the data set."
        ) from error
    raise DataError(
        f"{path}: {upright.width}x{upright.height} pixels, while {first_file} has {size[1]}x{size[0]}; "
        "all images must have the same size. Resize it, or remove it from the data set."
    )


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of a JPEG file, upright. Raises DataError if it is none."""
    content = _read(path)
    try:
        with warnings.catch_warnings(action="ignore"), _open(content) as image:
            upright = _upright(image)
            return upright.height, upright.width
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except Exception as error:
        raise DataError(f"{path}: not a JPEG image ({_describe(error)}). Replace it.") from error


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=("JPEG",))


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """The image as EXIF says that it is to be seen. Raises what Pillow raises if its pixels cannot be decoded."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block raises many types, and says nothing about the pixels
        return image


def _too_large(path: Path) -> DataError:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    return DataError(
        f"{path}: more than {limit:,} pixels, which is too many. Resize the images, or remove it from the data set."
    )


def cannot_write_cache(cache: Path, error: OSError) -> DataError:
    """The error for a cache folder that is full or not writable."""
    existing = next(path for path in (cache, *cache.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free / 1e9
    return DataError(
        f"{cache}: the cache cannot be written: {files.reason(error)}. It needs 12.3 kB per 64x64 image, 1.35 GB for "
        f"Tiny ImageNet; {free:.2f} GB are free there. Free some space, fix the permissions, or name another cache "
        "folder with data.cache=DIR."
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {files.reason(error)}. Fix the file or its permissions.") from error


def _describe(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text shows the address of a BytesIO
        return "its content is not that of a JPEG"
    return str(error)
