"""Imagenette: ten easy classes of ImageNet, the shorter side 160 pixels (https://github.com/fastai/imagenette).

It is an image folder: after the download, `data.name=image_folder` reads it.
"""

from __future__ import annotations

from pathlib import Path

from common.errors import DataError
from data.scan import folders_in
from data.source import Archive, WebFile

FOLDER = "imagenette2-160"
NAMES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip


def check(root: Path) -> None:
    """Raises DataError unless `root` holds images of the same ten classes in train/ and in val/."""
    train, val = (folders_in(root / split) for split in ("train", "val"))
    if train != val or len(train) != len(NAMES):
        raise DataError(f"{root}: train/ and val/ do not hold the same {len(NAMES)} classes.")
    for folder in (root / split / name for split in ("train", "val") for name in train):
        if not any(folder.iterdir()):
            raise DataError(f"{folder}: no images.")


ARCHIVE = Archive(
    file=WebFile(
        name="imagenette2-160.tgz",
        urls=(
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            "https://files.fast.ai/data/examples/imagenette2-160.tgz",
        ),
        size=99_003_388,
        md5="e793b78cc4c9e9a4ccc0c1155377a412",
    ),
    folder=FOLDER,
    check=check,
    words="".join(f"{folder}\t{name}\n" for folder, name in NAMES.items()),
)
