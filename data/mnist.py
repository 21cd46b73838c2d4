"""MNIST: handwritten digits, 28x28, grey; 60,000 for training and 10,000 for validation (LeCun et al. 1998)."""

from __future__ import annotations

from data.idx import FIRST, idx_source
from data.place import Place

SOURCE = idx_source(
    Place(name="mnist", title="MNIST", folder="mnist", file=FIRST, is_archive=False),
    class_names=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    published={
        "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    },
)
load = SOURCE.load
