"""Tiny data sets in the formats of MNIST and of CIFAR, for the tests of data/."""

import gzip
import struct
from pathlib import Path

import numpy as np

IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(values: np.ndarray) -> bytes:
    """A file of images (n, H, W) or labels (n,) in the format of MNIST."""
    magic = {3: 2051, 1: 2049}[values.ndim]
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(root: Path, train: int = 30, test: int = 10, size: tuple[int, int] = (8, 6), packed: bool = True) -> Path:
    """Random images; the labels are 0, 1, ..., 9, 0, ..."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    for name, count in zip(IDX_FILES, (train, train, test, test), strict=True):
        images = "images" in name
        content = idx(rng.integers(0, 256, (count, *size)) if images else np.arange(count) % 10)
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (root / name).write_bytes(content)
    return root


def records(count: int, labels: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """uint8 (n, labels + 3072): as in a file of CIFAR, with random pixels; labels are counted up, modulo."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, len(labels) + 3072), dtype=np.uint8)
    for column, classes in enumerate(labels):
        rows[:, column] = np.arange(count) % classes
    return rows


NAMES_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NAMES_100 = tuple(f"fine_{number}" for number in range(100))


def write_cifar10(root: Path, count: int = 12) -> Path:
    """Six files of `count` images each."""
    root.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        (root / name).write_bytes(records(count, (10,), seed=number).tobytes())
    (root / "batches.meta.txt").write_text("\n".join(NAMES_10) + "\n\n")
    return root


def write_cifar100(root: Path, train: int = 120, test: int = 20) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "train.bin").write_bytes(records(train, (20, 100)).tobytes())
    (root / "test.bin").write_bytes(records(test, (20, 100), seed=1).tobytes())
    (root / "fine_label_names.txt").write_text("\n".join(NAMES_100) + "\n")
    (root / "coarse_label_names.txt").write_text("".join(f"coarse_{number}\n" for number in range(20)))
    return root
