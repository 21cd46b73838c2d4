"""CIFAR-100: 32x32 photographs of a hundred classes; 50,000 for training, 10,000 for validation (Krizhevsky 2009)."""

from __future__ import annotations

from data.cifar import Version, cifar_source
from data.place import Place
from data.source import WebFile

FOLDER = "cifar-100-binary"
VERSION = Version(
    place=Place(name="cifar100", title="CIFAR-100", folder=FOLDER, file="train.bin", is_archive=True),
    train=("train.bin",),
    test="test.bin",
    names="fine_label_names.txt",
    labels=(20, 100),
    published={"train.bin": 50_000, "test.bin": 10_000},
    python="train",
)

SOURCE = cifar_source(
    VERSION,
    WebFile(
        name="cifar-100-binary.tar.gz",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        size=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",
    ),
)
load = SOURCE.load
