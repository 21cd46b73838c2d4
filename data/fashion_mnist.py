"""FashionMNIST: articles of clothing in the format of MNIST, 28x28, grey (Xiao et al. 2017, arXiv:1708.07747)."""

from __future__ import annotations

from data.idx import FIRST, idx_source
from data.place import Place

SOURCE = idx_source(
    Place(name="fashion_mnist", title="FashionMNIST", folder="fashion-mnist", file=FIRST, is_archive=False),
    class_names=(
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    published={
        "train-images-idx3-ubyte.gz": (26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte.gz": (29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte.gz": (4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte.gz": (5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    },
)  # fmt: skip
load = SOURCE.load
