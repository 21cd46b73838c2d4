"""What the tests of training and of the commands share: a tiny data set, a tiny run, and ways to call a command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset, Split
from training import checkpoint
from training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
STEPS_PER_EPOCH = 6  # 48 images in batches of 8

# A run of seconds, with everything random in it. Its learning rate is constant, so that the compiled step is the same
# however long the run, and comes from the cache of compiled programs.
TINY = (
    "baseline", "data.name=shapes", "model.num_classes=12",
    "model.patch_size=32", "model.d_model=8", "model.heads=2", "model.layers=1", "model.mlp_dim=8", "model.dropout=0.1",
    "optim.schedule=constant", "optim.learning_rate=1e-2", "optim.warmup=0",
    "optim.max_grad_norm=1", "augment.flip=true", "augment.crop_padding=4", "data.workers=1",
    "train.epochs=3", "train.batch_size=8", "train.eval_batch_size=16", "train.checkpoint_every=4", "train.seed=3",
)  # fmt: skip


@contextmanager
def docs_on_path() -> Iterator[None]:
    """The scripts of docs/ can be imported by their names, as they import each other."""
    folder = str(ROOT / "docs")
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def random_dataset(train: int = 26, val: int = 10, classes: int = 5, size: int = 8) -> Dataset:
    """Noise in the shape of a data set."""
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        pixels = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        return Split(pixels, rng.integers(0, classes, n, dtype=np.int32))

    names = tuple(f"class {i}" for i in range(classes))
    class_ids = tuple(f"n{i:02}" for i in range(classes))
    return Dataset(split(train), split(val), class_ids, names, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), "noise")


def start_python(*arguments: str | Path, cache: Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """A Python process that takes compiled programs from `cache`."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "GLIBC_TUNABLES": "",  # a tiny run has nothing to gain from starting twice
    }
    command = [sys.executable, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **streams, **options)


def assert_same_outcome(run: Path, reference: Path) -> None:
    """Parameters, optimizer state, best checkpoint and what is said of each step bit for bit, and all of the metrics
    but what measures time."""
    (arrays, meta), (expected, expected_meta) = (checkpoint.load(RunFolder(p).last) for p in (run, reference))
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert array.dtype == expected[name].dtype
    assert without_times(meta["progress"]) == without_times(expected_meta["progress"])
    assert RunFolder(run).best.read_bytes() == RunFolder(reference).best.read_bytes()
    assert RunFolder(run).steps_file.read_text() == RunFolder(reference).steps_file.read_text()
    rows = [[without_times(row._asdict()) for row in RunFolder(path).read_metrics()] for path in (run, reference)]
    assert rows[0] == rows[1]


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    times = ("seconds", "images_per_second", "data_wait", "epoch_seconds", "epoch_wait")
    return {name: value for name, value in values.items() if name not in times}
