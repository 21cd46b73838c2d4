"""CIFAR-10: 32x32 photographs of ten classes; 50,000 for training, 10,000 for validation (Krizhevsky 2009)."""

from __future__ import annotations

from data.cifar import Version, cifar_source
from data.place import Place
from data.source import WebFile

FOLDER = "cifar-10-batches-bin"
BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
VERSION = Version(
    place=Place(name="cifar10", title="CIFAR-10", folder=FOLDER, file=BATCHES[0], is_archive=True),
    train=BATCHES,
    test="test_batch.bin",
    names="batches.meta.txt",
    labels=(10,),
    published=dict.fromkeys((*BATCHES, "test_batch.bin"), 10_000),
    python="data_batch_1",
)

SOURCE = cifar_source(
    VERSION,
    WebFile(
        name="cifar-10-binary.tar.gz",
        urls=(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
        ),
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
    ),
)
load = SOURCE.load
