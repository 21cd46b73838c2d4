"""The decoded data set: uint8 pixels in .npy files that are mapped into memory, built once and never half.

A build lives in <cache>/<stamp>/, where the stamp is a hash of the source's files (layout.stamp): when the source
changes, the name changes, and the old build is never looked at again. It is made in <cache>/<stamp>.partial-*, flushed
to the disk and renamed, so that a build with the final name is whole.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from common import files
from common.errors import DataError
from common.progress import progress_bar
from data import workers
from data.layout import Listing

FORMAT = 1  # raise it when the files of a build change their meaning
CHUNK = 250  # images per task; fixed, so that sums and hashes do not depend on the number of workers
SPLITS = ("train", "val")
KEYS = {"stamp", "source", "fingerprint", "wnids", "names", "mean", "std"}  # of about.json


class Build(NamedTuple):
    """A cache opened for reading."""

    images: dict[str, np.ndarray]  # split -> uint8 (n, H, W, 3), mapped from the disk
    labels: dict[str, np.ndarray]  # split -> int32 (n,)
    about: dict[str, Any]  # wnids, names, mean, std, fingerprint


def build_folder(cache: Path, stamp: str) -> Path:
    return cache / f"v{FORMAT}-{stamp[:20]}"


def open_build(folder: Path, stamp: str) -> Build | None:
    """The build in `folder`, or None where there is none or it is damaged (then it is to be built again)."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        if about["stamp"] != stamp or not about.keys() >= KEYS:
            return None
        images = {split: np.load(folder / f"{split}_images.npy", mmap_mode="r") for split in SPLITS}
        labels = {split: np.load(folder / f"{split}_labels.npy") for split in SPLITS}
        if any(len(images[split]) != len(labels[split]) for split in SPLITS):
            return None
    except PermissionError as error:
        raise DataError(
            f"{error.filename or folder}: the cache cannot be read: {files.reason(error)}. "
            "Change its permissions, or name another cache folder with data.cache=DIR."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # what json and np.load make of broken files
        return None
    return Build(images, labels, about)


def build(root: Path, cache: Path, stamp: str, listed: Listing, jobs: int, quiet: bool) -> Build:
    """Decode every image of `listed` into <cache>. Raises DataError; what was there before stays, whatever happens."""
    folder = build_folder(cache, stamp)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with files.locked(cache / "lock", "" if quiet else f"{cache}: waiting for another process to build it") as held:
            ready = open_build(folder, stamp)  # another process may have built it while this one waited
            if ready is not None:
                return ready
            if held:
                _remove_stale(cache)
            with files.partial_folder(folder) as partial:
                _fill(partial, root, stamp, listed, jobs, quiet)
                _move_into_place(partial, folder)
            _remove_older(cache, root, keep=folder)
    except OSError as error:
        raise _cannot_write(cache, error) from error
    ready = open_build(folder, stamp)
    if ready is None:
        raise DataError(f"{folder}: the cache was built but cannot be read back. Remove the folder and try again.")
    return ready


def _cannot_write(cache: Path, error: OSError) -> DataError:
    existing = next(path for path in (cache, *cache.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free / 1e9
    return DataError(
        f"{cache}: the cache cannot be written: {files.reason(error)}. It needs 12.3 kB for each image of 64x64, "
        f"1.35 GB for Tiny ImageNet; {free:.2f} GB are free there. Make room, mend the permissions, or name another "
        "cache folder with data.cache=DIR."
    )


def _remove_stale(cache: Path) -> None:
    for folder in cache.glob(f"v*{files.PARTIAL}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(partial: Path, folder: Path) -> None:
    if folder.exists():  # damaged, or open_build would have taken it
        shutil.rmtree(folder)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        # Without locks another build can have been quicker. It has the same stamp, so it holds the same.
    files.fsync_path(folder.parent)


def _remove_older(cache: Path, root: Path, keep: Path) -> None:
    """Earlier builds of the same source go; those of other data sets that share the cache folder stay."""
    for about in cache.glob("v*/about.json"):
        if about.parent != keep and files.PARTIAL not in about.parent.name:
            try:
                same = json.loads(about.read_text(encoding="utf-8"))["source"] == str(root.resolve())
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if same:
                shutil.rmtree(about.parent, ignore_errors=True)


def _fill(folder: Path, root: Path, stamp: str, listed: Listing, jobs: int, quiet: bool) -> None:
    size = _image_size(root / listed.train[0])
    tasks = _reserve_split(folder, "train", listed.train, listed.train_labels, root, size, listed.train[0])
    train_tasks = len(tasks)
    tasks += _reserve_split(folder, "val", listed.val, listed.val_labels, root, size, listed.train[0])
    with progress_bar(len(listed.train) + len(listed.val), "Decoding", " images", quiet) as bar:
        results = workers.run(
            "data.cache:decode_chunk", tasks, jobs, lambda index: bar.update(len(tasks[index]["paths"]))
        )
    mean, std = _statistics(results[:train_tasks])
    about = {
        "stamp": stamp,
        "source": str(root.resolve()),
        "fingerprint": _fingerprint(listed, results),
        "wnids": listed.wnids,
        "names": listed.names,
        "mean": mean,
        "std": std,
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        files.fsync_path(path)


def _reserve_split(
    folder: Path, split: str, paths: list[str], labels: list[int], root: Path, size: tuple[int, int], first_file: str
) -> list[dict[str, Any]]:
    """Write the labels, claim the space for the pixels, and say in tasks for the workers which images go where."""
    np.save(folder / f"{split}_labels.npy", np.asarray(labels, np.int32))
    output = folder / f"{split}_images.npy"
    start = _reserve(output, (len(paths), *size, 3))
    common = {"root": str(root), "cache": str(folder.parent), "output": str(output)}
    return [
        {
            **common,
            "size": size,
            "first_file": first_file,
            "paths": paths[first : first + CHUNK],
            "offset": start + first * math.prod(size) * 3,
        }
        for first in range(0, len(paths), CHUNK)
    ]


def _reserve(path: Path, shape: tuple[int, ...]) -> int:
    """Write the .npy header and claim the space, so that a full disk is noticed now; returns where the pixels start."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.flush()
        start = file.tell()
        file.truncate(start + math.prod(shape))
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, start + math.prod(shape))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot promise
                    raise
    return start


def _statistics(results: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of pixels in 0..1, from exact integer sums."""
    n = sum(result["pixels"] for result in results)
    mean, std = [], []
    for channel in range(3):
        s = sum(result["sums"][channel] for result in results)
        q = sum(result["squares"][channel] for result in results)
        mean.append(s / (255 * n))
        std.append(math.sqrt(n * q - s * s) / (255 * n) or 1.0)  # a channel without variation is not divided by zero
    return mean, std


def _fingerprint(listed: Listing, results: list[dict[str, Any]]) -> str:
    """Identifies the data: class order, which file has which label, and every byte of every file; not their times."""
    digest = hashlib.sha256(json.dumps(listed._replace(names=())).encode())
    for result in results:
        digest.update(result["sha256"].encode())
    return digest.hexdigest()


def decode_chunk(task: dict[str, Any]) -> dict[str, Any]:
    """Decode some images straight into their place in the .npy file; runs in a worker process."""
    root, size = Path(task["root"]), tuple(task["size"])
    pixels = np.empty((len(task["paths"]), *size, 3), np.uint8)
    digest = hashlib.sha256()
    for row, path in zip(pixels, task["paths"], strict=True):
        content = _read(root / path)
        digest.update(len(content).to_bytes(8, "little") + content)
        row[...] = _decode(content, root / path, size, task["first_file"])
    try:
        with open(task["output"], "r+b") as file:
            file.seek(task["offset"])
            file.write(pixels.data)
    except OSError as error:
        raise _cannot_write(Path(task["cache"]), error) from error
    # Summed over the images first: long rows of one type, which NumPy adds with vector instructions.
    sums = pixels.sum(axis=0, dtype=np.uint32)
    squares = np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    return {
        "pixels": pixels.size // 3,
        "sums": sums.reshape(-1, 3).sum(axis=0, dtype=np.uint64).tolist(),
        "squares": squares.reshape(-1, 3).sum(axis=0, dtype=np.uint64).tolist(),
        "sha256": digest.hexdigest(),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {files.reason(error)}. Mend the file or its permissions.") from error


def _decode(content: bytes, path: Path, size: tuple[int, ...], first_file: str) -> np.ndarray:
    """One image as uint8 (H, W, 3). Raises DataError for anything but a whole JPEG of the given size."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            height, width = image.height, image.width
            if (height, width) == size:
                _require_end(content)
                return np.asarray(image.convert("RGB"))  # greyscale becomes three equal channels
    except Exception as error:  # Pillow raises many kinds for broken files, SyntaxError among them
        raise DataError(
            f"{path}: not a whole JPEG image ({_plainly(error)}). Get it again, or remove it and its line in the lists."
        ) from error
    raise DataError(
        f"{path}: {width}x{height} pixels, while {first_file} has {size[1]}x{size[0]}; "
        "all images must have one size. Resize it, or remove it and its line in the lists."
    )


def _require_end(content: bytes) -> None:
    """Pillow refuses a JPEG that is cut short, but pads one whose tail is zeros (a broken copy) with grey.

    Inside the compressed pixels, which begin at the last start-of-scan marker (FFDA), a byte FF is never followed by
    D9; so an end-of-image marker (FFD9) after it shows that they are all there.
    """
    if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise ValueError("its end is missing")


def _plainly(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text shows the address of a BytesIO
        return "its content is not that of a JPEG"
    return str(error)


def _image_size(path: Path) -> tuple[int, int]:
    """Height and width of the first image, which all others must share."""
    try:
        with Image.open(io.BytesIO(_read(path)), formats=("JPEG",)) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a JPEG image ({_plainly(error)}). Get it again.") from error
