"""A tiny data set in the layout of Tiny ImageNet, for the tests of data/."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n03", "n01", "n02")  # not sorted: the order of wnids.txt gives the labels
NAMES = ("kite", "goldfish", "toad, frog")


def jpeg(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    """A JPEG of (height, width) random pixels."""
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_data_set(root: Path, train: int = 4, val: int = 5, size: tuple[int, int] = (8, 8)) -> Path:
    """`train` images a class and `val` in all; every image is another one."""
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in WNIDS))
    words = [*zip(WNIDS, NAMES, strict=True), ("n09", "entity")]
    (root / "words.txt").write_text("".join(f"{wnid}\t{name}\n" for wnid, name in words))
    for number, wnid in enumerate(WNIDS):
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        for index in range(train):
            (images / f"{wnid}_{index}.JPEG").write_bytes(jpeg(1000 * number + index, size))
    lines = []
    for index in range(val):
        (root / "val" / "images" / f"val_{index}.JPEG").write_bytes(jpeg(9000 + index, size))
        lines.append(f"val_{index}.JPEG\t{WNIDS[index % 3]}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def write_boxes(root: Path, wnid: str) -> None:
    """The list of the class's images that the original has next to them."""
    folder = root / "train" / wnid
    lines = [f"{path.name}\t0\t0\t7\t7\n" for path in sorted((folder / "images").iterdir())]
    (folder / f"{wnid}_boxes.txt").write_text("".join(lines))
