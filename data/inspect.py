"""A table of a data set before it is trained on: classes, images, sizes, copies, and what looks wrong.

    python -m data.inspect photos                 a folder of images of your own
    python -m data.inspect fashion_mnist          a data set of the registry, in its default folder or that of --root

Every image is decoded once, in worker processes, so that all broken ones are named at once. Nothing is written.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.argument_types import at_least
from common.command import in_one_line, run_command
from common.cores import available_cores
from common.errors import DataError
from common.paths import named_path
from common.text import counted, first_of, in_columns
from data.build import in_chunks
from data.folder_scan import left_alone_notes, scan_folder
from data.image_folder import unequal_notes
from data.registry import SOURCES
from data.source import Source

FEW_VALIDATED = 100  # validation images: fewer give an accuracy that chance moves by five points
FAR = 4  # times as large, or half as large, as the size that the model is given
SHOWN = 5  # of a kind
NAME_WIDTH = 44


class Found(NamedTuple):
    """An image."""

    path: str
    label: int
    val: bool
    about: dict[str, Any]  # see data.decode.inspect_chunk


class Inspected(NamedTuple):
    class_names: tuple[str, ...]
    images: list[Found]


def main(argv: Sequence[str]) -> int:
    options = parse_arguments(argv)
    name, root = what_is(options.data, options.root)
    size = options.image_size or (64 if name == "image_folder" else None)
    for line in report(name, root, inspect(name, root, options.workers), size):
        print(line)
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m data.inspect", description="What is in a data set.")
    parser.add_argument("data", metavar="NAME|ROOT", help=f"a folder of images, or one of {', '.join(SOURCES)}")
    parser.add_argument("--root", type=named_path, metavar="DIR", help="the folder of a data set that is named")
    parser.add_argument(
        "--image-size", type=at_least(1), metavar="N", help="model.image_size to compare with (of a folder: 64)"
    )
    parser.add_argument("--workers", type=at_least(1), metavar="N", help="number of processes (one per core)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def what_is(data: str, root: Path | None) -> tuple[str, Path]:
    """The name of the data set and its folder. Raises DataError if it is neither a name nor a folder."""
    if data in SOURCES:
        return data, root or Path(SOURCES[data].folder)
    if root is not None:
        raise DataError(f"{data}: --root goes with a name: {', '.join(SOURCES)}")
    folder = named_path(data)
    if not folder.is_dir():
        raise DataError(f"{data}: no such folder, and none of the data sets {', '.join(SOURCES)}")
    return ("tiny_imagenet" if (folder / "val" / "val_annotations.txt").is_file() else "image_folder"), folder


def inspect(name: str, root: Path, jobs: int | None = None, quiet: bool = False) -> Inspected:
    """All images of a data set. Raises DataError where it is missing or incomplete."""
    source = SOURCES[name]
    if source.list_files is None:
        return _inspect_arrays(source, root, quiet)
    listing = source.list_files(root)
    paths = [*listing.train, *listing.val]
    abouts = in_chunks("inspect_chunk", "Inspecting", root, paths, jobs or available_cores(), quiet)
    labels, split = [*listing.train_labels, *listing.val_labels], len(listing.train)
    images = [
        Found(path, label, number >= split, about)
        for number, (path, label, about) in enumerate(zip(paths, labels, abouts, strict=True))
    ]
    return Inspected(tuple(in_one_line(name) for name in listing.class_names), images)


def _inspect_arrays(source: Source, root: Path, quiet: bool) -> Inspected:
    """A data set that is no files of images: its images are called by their numbers."""
    dataset = source.load(root, None, None, quiet)
    images = []
    for split, part in (("train", dataset.train), ("val", dataset.val)):
        for number, (pixels, label) in enumerate(zip(np.asarray(part.images), part.labels, strict=True)):
            height, width, channels = pixels.shape
            about = {"height": height, "width": width, "format": "array", "grey": channels == 1, "problem": ""}
            about["hash"] = hashlib.sha256(pixels.tobytes()).hexdigest()
            images.append(Found(f"{split} image {number}", int(label), split == "val", about))
    return Inspected(dataset.class_names, images)


def report(name: str, root: Path, found: Inspected, image_size: int | None) -> Iterator[str]:
    """The table and what looks wrong, in lines of a terminal."""
    train = Counter(image.label for image in found.images if not image.val)
    val = Counter(image.label for image in found.images if image.val)
    yield f"{root}: {name}, {counted(len(found.images), 'image')} of {len(found.class_names):,} classes"
    yield ""
    yield f"{'class':<{NAME_WIDTH}} {'training':>10} {'validation':>10}"
    for label, class_name in enumerate(found.class_names):
        yield f"{in_columns(class_name, NAME_WIDTH)} {train[label]:>10,} {val[label]:>10,}"
    yield f"{'all':<{NAME_WIDTH}} {train.total():>10,} {val.total():>10,}"
    yield ""
    yield from _summary(found.images)
    wrong = [*_problems(name, root, found, image_size)]
    yield ""
    yield "looks wrong" if wrong else "nothing looks wrong"
    yield from (f"  {line}" for line in wrong)


def _summary(images: list[Found]) -> Iterator[str]:
    whole = [image.about for image in images if not image.about["problem"]]
    sizes = Counter((about["width"], about["height"]) for about in whole)
    if sizes:
        (small, large) = (choose(sizes, key=lambda size: size[0] * size[1]) for choose in (min, max))
        median = [int(np.median([about[side] for about in whole])) for side in ("width", "height")]
        each = f"{small[0]}x{small[1]} to {large[0]}x{large[1]} pixels, median {median[0]}x{median[1]}"
        yield f"sizes     {each}" if len(sizes) > 1 else f"size      {small[0]}x{small[1]} pixels"
    formats = Counter(about["format"] for about in whole).most_common()
    yield f"formats   {', '.join(f'{count:,} {kind}' for kind, count in formats)}"
    grey = sum(about["grey"] for about in whole)
    yield f"channels  {len(whole) - grey:,} in colour, {grey:,} grey"


def _problems(name: str, root: Path, found: Inspected, image_size: int | None) -> Iterator[str]:
    images, names = found.images, found.class_names
    broken = [f"{image.path}: {image.about['problem']}" for image in images if image.about["problem"]]
    yield from _some("broken", "broken", broken)
    counts = Counter(image.label for image in images if not image.val)
    single = [names[label] for label, count in counts.items() if count == 1]
    yield from _some("class with a single training image", "classes with a single training image", single)
    for line in unequal_notes(np.array([image.label for image in images if not image.val]), names):
        yield line
        yield "  data.sampling=balanced draws them equally often"
    validated = sum(image.val for image in images)
    if 0 < validated < FEW_VALIDATED:
        yield f"only {counted(validated, 'validation image')}: the accuracy will depend much on chance"
    not_validated = sorted({image.label for image in images} - {image.label for image in images if image.val})
    if validated:
        yield from _some(
            "class without validation images",
            "classes without validation images",
            map(names.__getitem__, not_validated),
        )
    yield from _copies(images, names)
    if image_size:
        yield from _far(images, image_size)
    if name == "image_folder":
        yield from left_alone_notes(scan_folder(root))


def _copies(images: list[Found], names: tuple[str, ...]) -> Iterator[str]:
    groups: dict[str, list[Found]] = defaultdict(list)
    for image in images:
        groups[image.about["hash"]].append(image)
    several = [group for group in groups.values() if len(group) > 1]
    same = [" = ".join(image.path for image in group[:3]) for group in several if len({i.label for i in group}) == 1]
    yield from _some("image with copies", "images with copies", same)
    torn = [" = ".join(image.path for image in group[:3]) for group in several if len({i.label for i in group}) > 1]
    yield from _some("image in several classes", "images in several classes", torn)
    leaks = sum(len({image.val for image in group}) > 1 for group in several)
    if leaks:
        yield f"of these, {leaks:,} both trained on and validated on"


def _far(images: list[Found], size: int) -> Iterator[str]:
    sides = [min(image.about["height"], image.about["width"]) for image in images if not image.about["problem"]]
    if len(set(sides)) > 1 or (sides and sides[0] != size):
        small, large = sum(2 * side < size for side in sides), sum(side > FAR * size for side in sides)
        if small:
            yield f"{counted(small, 'image')} less than half as large as model.image_size={size}: will be blurred"
        if large:
            yield f"{counted(large, 'image')} more than {FAR} times as large as model.image_size={size}: loses details"


def _some(one: str, several: str, items: Iterable[str]) -> Iterator[str]:
    """A line with the number of the items, and a line for each of the first few."""
    items = list(items)
    if items:
        yield f"{len(items):,} {one if len(items) == 1 else several}"
        yield from first_of([f"  {in_one_line(item)}" for item in items], SHOWN, "\n").split("\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
