"""A data set that needs no download: coloured, textured shapes, drawn from a seed in the layout of Tiny ImageNet.

    python -m data.shapes --to datasets/shapes

Twelve classes, told apart by outline alone: colours, textures, place, size, rotation, clutter and what covers part of
the shape are drawn without looking at the class. One thing is given to the learner: the shape is brighter than what is
behind it. Without that, and with any rotation, a small ViT needs far more than the few minutes of a demonstration.

The files are the same, byte for byte, for the same seed, counts and versions of Pillow and NumPy, however many workers
draw them.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from common import files
from common.command import run_command
from common.cores import available_cores
from common.errors import DataError
from common.progress import progress_bar
from data.workers import run

VERSION = 1  # raise it when the same seed draws something else
SIZE = 64  # pixels, both ways
FINE = 2  # masks are drawn this many times larger and averaged, for smooth edges
CHUNK = 50  # images per task
QUALITY = 90  # of the JPEG files
RADIUS = (0.32, 0.46)  # of the shape, least and most, as a share of the picture's side
TURN = 30  # degrees, to either side
LUMINANCE = np.array([0.30, 0.59, 0.11])  # the weights of red, green and blue in brightness
CONTRAST = 60  # of 255, by which the shape is brighter than what is behind and before it
SHAPE_TEXTURE, GROUND_TEXTURE = 24, 12  # of 255, the most that a texture adds or takes away
TRAIN_PER_CLASS, VAL_PER_CLASS = 480, 84  # 5,760 and 1,008 pictures
RECORD = "shapes.json"  # how the data set was drawn, to know it again

Polygon = np.ndarray  # float (vertices, 2): x to the right, y down, the shape within the unit disc
Box = tuple[int, int, int, int]  # left, top, right, bottom, the last two inclusive

CLASSES = {  # class id (the folder's name) -> human name
    "disc": "disc",
    "ring": "ring",
    "crescent": "crescent moon",
    "semicircle": "half disc",
    "triangle": "triangle",
    "square": "square",
    "star": "five-pointed star",
    "cross": "cross, plus sign",
    "heart": "heart",
    "hourglass": "hourglass",
    "bar": "bar, long rectangle",
    "equals": "equals sign, two bars",
}


# The outlines: each is a list of polygons, filled or (False) cut out again.


def _arc(start: float, stop: float, radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0)) -> Polygon:
    angles = np.linspace(start, stop, 48)
    return np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)


def _star(points: int, inner: float) -> Polygon:
    angles = np.arange(2 * points) * math.pi / points - math.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> Polygon:
    t = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


def _bar(y: float, half: float) -> Polygon:
    return _points(-1, y - half, 1, y - half, 1, y + half, -1, y + half) * 0.95


def _points(*values: float) -> Polygon:
    return np.array(values, float).reshape(-1, 2)


_CIRCLE = _arc(0, 2 * math.pi)
_CROSS = _points(-1, -3, 1, -3, 1, -1, 3, -1, 3, 1, 1, 1, 1, 3, -1, 3, -1, 1, -3, 1, -3, -1, -1, -1) / math.sqrt(10)
_OUTLINES: dict[str, list[tuple[Polygon, bool]]] = {
    "disc": [(_CIRCLE * 0.85, True)],
    "ring": [(_CIRCLE * 0.9, True), (_CIRCLE * 0.5, False)],
    "crescent": [(_CIRCLE, True), (_arc(0, 2 * math.pi, 0.85, (0.5, 0.0)), False)],
    "semicircle": [(_arc(0, math.pi) - (0.0, 0.4), True)],
    "triangle": [(_star(3, 0.5), True)],
    "square": [(_points(-1, -1, 1, -1, 1, 1, -1, 1) * 0.72, True)],
    "star": [(_star(5, 0.42), True)],
    "cross": [(_CROSS, True)],
    "heart": [(_heart(), True)],
    "hourglass": [(_points(-0.7, -0.8, 0.7, -0.8, -0.7, 0.8, 0.7, 0.8), True)],
    "bar": [(_bar(0.0, 0.25), True)],
    "equals": [(_bar(-0.5, 0.2), True), (_bar(0.5, 0.2), True)],
}


def draw(wnid: str, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    """One picture of the class, and the box of its shape (what is covered included)."""
    ground, shape, cover = _colours(rng)
    canvas = _texture(rng, ground, GROUND_TEXTURE)
    for _ in range(rng.integers(0, 3)):  # clutter, too small to be taken for the shape
        canvas = _blend(canvas, _texture(rng, _colours(rng)[0], GROUND_TEXTURE), _patch(rng, rng.uniform(0.04, 0.09)))
    mask = _shape_mask(wnid, rng)
    canvas = _blend(canvas, _texture(rng, shape, SHAPE_TEXTURE), mask)
    if rng.random() < 0.3:
        canvas = _blend(canvas, _texture(rng, cover, GROUND_TEXTURE), _patch(rng, rng.uniform(0.06, 0.12)))
    canvas += rng.normal(0, rng.uniform(2, 8), canvas.shape)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), box


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Ground, shape and cover, each RGB in 0..255: any colours, as long as the shape is the brighter by CONTRAST."""
    while True:
        colours = rng.uniform(0, 255, (3, 3))
        ground, shape, cover = colours @ LUMINANCE
        if shape - max(ground, cover) > CONTRAST:
            return colours


def _texture(rng: np.random.Generator, colour: np.ndarray, strength: float) -> np.ndarray:
    """float (SIZE, SIZE, 3): the colour, shaded by stripes, checks, dots, a gradient or nothing."""
    angle, period, phase = rng.uniform(0, math.pi), rng.uniform(5, 14), rng.uniform(0, 2 * math.pi, 2)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    u = (x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period + phase[0]
    v = (y * math.cos(angle) - x * math.sin(angle)) * 2 * math.pi / period + phase[1]
    kind = rng.integers(5)
    if kind == 0:
        shade = np.zeros((SIZE, SIZE))
    elif kind == 1:
        shade = np.sin(u)
    elif kind == 2:
        shade = np.sign(np.sin(u) * np.sin(v))
    elif kind == 3:
        shade = 2.0 * (np.cos(u) + np.cos(v) > 1) - 1
    else:
        shade = (u - u.mean()) * period / (SIZE * math.pi)
    return colour + shade[:, :, None] * rng.uniform(-strength, strength, 3)


def _shape_mask(wnid: str, rng: np.random.Generator) -> np.ndarray:
    """float (SIZE, SIZE) in 0..1: the outline at a random place, size, stretch and rotation, wholly in the picture."""
    radius = rng.uniform(*RADIUS) * SIZE
    angle, stretch = math.radians(rng.uniform(-TURN, TURN)), rng.uniform(0.85, 1.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = rng.uniform(radius, SIZE - radius, 2)
    return _fill([(polygon * (1, stretch) @ turn * radius + centre, on) for polygon, on in _OUTLINES[wnid]])


def _patch(rng: np.random.Generator, size: float) -> np.ndarray:
    """A mask of a random convex patch, `size` of the picture in radius."""
    angles = np.sort(rng.uniform(0, 2 * math.pi, 7))
    polygon = np.stack([np.cos(angles), np.sin(angles)], axis=1) * size * SIZE
    return _fill([(polygon + rng.uniform(0, SIZE, 2), True)])


def _fill(polygons: list[tuple[Polygon, bool]]) -> np.ndarray:
    mask = Image.new("L", (SIZE * FINE, SIZE * FINE))
    pen = ImageDraw.Draw(mask)
    for polygon, on in polygons:
        pen.polygon([tuple(point) for point in (polygon * FINE).tolist()], fill=255 if on else 0)
    return np.asarray(mask.reduce(FINE), float) / 255


def _blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return below + (above - below) * mask[:, :, None]


def draw_chunk(task: dict[str, Any]) -> list[Box]:
    """Draw and save some pictures of one class; runs in a worker process. Returns their boxes."""
    boxes = []
    for index in range(task["first"], task["last"]):
        # One stream for each picture, so that neither the workers nor the counts change what is drawn.
        rng = np.random.default_rng([*task["stream"], index])
        picture, box = draw(task["wnid"], rng)
        path = Path(task["folder"]) / (task["prefix"] + f"{task['number'] + index}.JPEG")
        encoded = io.BytesIO()  # not into the file: Pillow does not notice when a full disk takes only half of it
        picture.save(encoded, "JPEG", quality=QUALITY)
        try:
            path.write_bytes(encoded.getvalue())
        except OSError as error:
            raise _cannot_write(Path(task["root"]), error) from error
        boxes.append(box)
    return boxes


def generate(
    root: str | PathLike[str],
    seed: int = 0,
    train_per_class: int = TRAIN_PER_CLASS,
    val_per_class: int = VAL_PER_CLASS,
    workers: int | None = None,
    quiet: bool = False,
) -> None:
    """Draw the data set into the folder `root`; at once where it is already there, drawn in the same way.

    Raises DataError where `root` holds anything else, or cannot be written. A folder with that name is whole: the
    pictures are drawn in a folder next to it, which is then renamed.
    """
    root = Path(root)
    about = {
        "version": VERSION,
        "seed": seed,
        "train_per_class": train_per_class,
        "val_per_class": val_per_class,
    }
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(root.parent / f".{root.name}.lock", "" if quiet else f"{root}: waiting for another process"):
            if root.exists() and any(root.iterdir()):
                _require_same(root, about)
                return
            files.remove_stale_partials(root)
            with files.partial_folder(root) as partial:
                _draw_all(partial, root, about, workers or available_cores(), quiet)
                if root.exists():
                    root.rmdir()
                partial.rename(root)
    except OSError as error:
        raise _cannot_write(root, error) from error


def _require_same(root: Path, about: dict[str, Any]) -> None:
    """The record of the data set in `root` must say the same; raises DataError that tells what differs."""
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found == about:
        return
    what = "something else than generated shapes"
    if isinstance(found, dict) and found.keys() == about.keys():
        differences = [f"{key} {found[key]}, not {about[key]}" for key in about if found[key] != about[key]]
        what = f"shapes drawn otherwise ({'; '.join(differences)})"
    raise DataError(f"{root}: holds {what}. Move the folder away, or name another one with --to.")


def _draw_all(folder: Path, root: Path, about: dict[str, Any], jobs: int, quiet: bool) -> None:
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in CLASSES), encoding="utf-8")
    (folder / "words.txt").write_text("".join(f"{wnid}\t{name}\n" for wnid, name in CLASSES.items()), encoding="utf-8")
    tasks = [{"root": str(root), **task} for split in ("train", "val") for task in _tasks(folder, about, split)]
    total = sum(task["last"] - task["first"] for task in tasks)
    with progress_bar(total, "Drawing shapes", " images", quiet) as bar:
        boxes = run("data.shapes:draw_chunk", tasks, jobs, lambda i: bar.update(tasks[i]["last"] - tasks[i]["first"]))
    for task, chunk in zip(tasks, boxes, strict=True):
        with open(task["annotations"], "a", encoding="utf-8") as file:
            for index, box in enumerate(chunk, start=task["first"] + task["number"]):
                columns = [f"{task['prefix']}{index}.JPEG", *([task["wnid"]] if task["val"] else []), *map(str, box)]
                file.write("\t".join(columns) + "\n")
    (folder / RECORD).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _tasks(folder: Path, about: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """The work, in pieces of CHUNK pictures; creates the folders that it needs."""
    tasks = []
    count, val = about[f"{split}_per_class"], split == "val"
    for number, wnid in enumerate(CLASSES):
        parent = folder / "val" if val else folder / "train" / wnid
        (parent / "images").mkdir(parents=True, exist_ok=True)
        for first in range(0, count, CHUNK):
            tasks.append(
                {
                    "wnid": wnid,
                    "val": val,
                    "stream": [about["seed"], int(val), number],
                    "first": first,
                    "last": min(first + CHUNK, count),
                    "number": number * count if val else 0,  # of the class's first file: val_0.JPEG, val_1.JPEG, ...
                    "folder": str(parent / "images"),
                    "prefix": "val_" if val else f"{wnid}_",
                    "annotations": str(parent / ("val_annotations.txt" if val else f"{wnid}_boxes.txt")),
                }
            )
    return tasks


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written: {files.reason(error)}. Make room, or name another folder with --to.")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m data.shapes", description="Generate the shapes data set.")
    parser.add_argument("--to", default="datasets/shapes", metavar="DIR", help="the folder to create (%(default)s)")
    parser.add_argument("--seed", type=_at_least(0), default=0, metavar="N", help="draws the pictures (%(default)s)")
    parser.add_argument(
        "--train-per-class", type=_at_least(1), default=TRAIN_PER_CLASS, metavar="N", help="(%(default)s)"
    )
    parser.add_argument("--val-per-class", type=_at_least(1), default=VAL_PER_CLASS, metavar="N", help="(%(default)s)")
    parser.add_argument("--workers", type=_at_least(1), metavar="N", help="processes (one for each core)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    generate(options.to, options.seed, options.train_per_class, options.val_per_class, options.workers)
    pictures = len(CLASSES) * (options.train_per_class + options.val_per_class)
    print(f"{options.to}: {pictures} images of {len(CLASSES)} classes.")
    return 0


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return whole_number


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
