"""The shapes data set: generated from a seed, needs no download. The folder has the layout of Tiny ImageNet.

    python -m data.shapes --to datasets/shapes

The files are identical, byte for byte, for the same seed, counts and versions of Pillow and NumPy, whatever the number
of workers. data/shape_drawing.py draws the pictures and says what distinguishes the twelve classes.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from common import files
from common.argument_types import at_least
from common.command import run_command
from common.cores import available_cores
from common.documents import read_json
from common.errors import DamagedError, DataError
from common.paths import named_path
from common.progress import progress_bar
from data import tiny_imagenet
from data.dataset import Dataset, Listing
from data.shape_drawing import CLASSES, Box, draw
from data.source import Known, Source
from data.workers import run

VERSION = 1  # increase when the same seed gives other files
CHUNK = 50  # images per task
QUALITY = 90  # of the JPEG files
TRAIN_PER_CLASS, VAL_PER_CLASS = 480, 84  # 5,760 and 1,008 pictures
RECORD = "shapes.json"  # in the folder: the parameters that it was generated with


def draw_chunk(task: dict[str, Any]) -> list[Box]:
    """Draw and save some pictures of one class; runs in a worker process. Returns the bounding boxes of the shapes."""
    boxes = []
    for index in range(task["first"], task["last"]):
        # One random stream per picture: the result depends neither on the number of workers nor on the counts.
        rng = np.random.default_rng([*task["stream"], index])
        picture, box = draw(task["class_id"], rng)
        path = Path(task["folder"]) / (task["prefix"] + f"{task['number'] + index}.JPEG")
        encoded = io.BytesIO()  # Pillow would not notice that a full disk takes only part of a file
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
    """Generate the data set in the folder `root`; do nothing if it is there already, with the same parameters.

    The pictures are drawn into a temporary folder, which is then renamed: a folder named `root` is complete.

    Raises DataError where `root` holds anything else, or cannot be written.
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
    """Raises DataError, naming the difference, unless `root` was generated with the parameters `about`."""
    try:
        found = read_json(root / RECORD, Any)
    except (OSError, DamagedError):
        found = None
    if found == about:
        return
    what = "something other than generated shapes"
    if isinstance(found, dict) and found.keys() == about.keys():
        differences = [f"{key} {found[key]}, not {about[key]}" for key in about if found[key] != about[key]]
        what = f"shapes drawn with other parameters ({'; '.join(differences)})"
    raise DataError(f"{root}: holds {what}. Move the folder away, or name another one with --to.")


def _draw_all(folder: Path, root: Path, about: dict[str, Any], jobs: int, quiet: bool) -> None:
    (folder / "wnids.txt").write_text("".join(f"{class_id}\n" for class_id in CLASSES), encoding="utf-8")
    (folder / "words.txt").write_text(
        "".join(f"{class_id}\t{name}\n" for class_id, name in CLASSES.items()), encoding="utf-8"
    )
    tasks = [{"root": str(root), **task} for split in ("train", "val") for task in _tasks(folder, about, split)]
    total = sum(task["last"] - task["first"] for task in tasks)
    with progress_bar(total, "Drawing shapes", " images", quiet) as bar:
        boxes = run("data.shapes:draw_chunk", tasks, jobs, lambda i: bar.update(tasks[i]["last"] - tasks[i]["first"]))
    for task, chunk in zip(tasks, boxes, strict=True):
        with open(task["annotations"], "a", encoding="utf-8") as file:
            for index, box in enumerate(chunk, start=task["first"] + task["number"]):
                columns = [
                    f"{task['prefix']}{index}.JPEG",
                    *([task["class_id"]] if task["val"] else []),
                    *map(str, box),
                ]
                file.write("\t".join(columns) + "\n")
    (folder / RECORD).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _tasks(folder: Path, about: dict[str, Any], split: str) -> list[dict[str, Any]]:
    """The tasks of `draw_chunk` for one split, CHUNK pictures each; creates their folders."""
    tasks = []
    count, val = about[f"{split}_per_class"], split == "val"
    for number, class_id in enumerate(CLASSES):
        parent = folder / "val" if val else folder / "train" / class_id
        (parent / "images").mkdir(parents=True, exist_ok=True)
        for first in range(0, count, CHUNK):
            tasks.append(
                {
                    "class_id": class_id,
                    "val": val,
                    "stream": [about["seed"], int(val), number],
                    "first": first,
                    "last": min(first + CHUNK, count),
                    "number": number * count if val else 0,  # of the class's first file: val_0.JPEG, val_1.JPEG, ...
                    "folder": str(parent / "images"),
                    "prefix": "val_" if val else f"{class_id}_",
                    "annotations": str(parent / ("val_annotations.txt" if val else f"{class_id}_boxes.txt")),
                }
            )
    return tasks


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be written: {files.reason(error)}. Free some space, or name another folder with --to."
    )


def load(root: Path, *args: Any, **options: Any) -> Dataset:
    """Open the data set in the folder `root`, as `tiny_imagenet.load` does. Raises DataError, also for another one."""
    _require_shapes(root)
    return tiny_imagenet.load(root, *args, **options)


def list_files(root: Path) -> Listing:
    """The images with their labels. Raises DataError unless `root` holds a complete data set."""
    _require_shapes(root)
    return tiny_imagenet.list_files(root)


def _require_shapes(root: Path) -> None:
    if not (Path(root) / "wnids.txt").is_file():
        raise DataError(
            f"{root}: no generated shapes here. Draw them into a new or empty folder: python -m data.shapes --to DIR"
        )


SOURCE = Source(
    folder="datasets/shapes",
    load=load,
    generate=generate,
    known=Known((64, 64), 3, len(CLASSES)),
    list_files=list_files,
)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m data.shapes", description="Generate the shapes data set.")
    parser.add_argument(
        "--to", default="datasets/shapes", type=named_path, metavar="DIR", help="to create (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="random seed of the pictures (%(default)s)"
    )
    parser.add_argument(
        "--train-per-class", type=at_least(1), default=TRAIN_PER_CLASS, metavar="N", help="(%(default)s)"
    )
    parser.add_argument("--val-per-class", type=at_least(1), default=VAL_PER_CLASS, metavar="N", help="(%(default)s)")
    parser.add_argument("--workers", type=at_least(1), metavar="N", help="number of processes (one per core)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    generate(options.to, options.seed, options.train_per_class, options.val_per_class, options.workers)
    pictures = len(CLASSES) * (options.train_per_class + options.val_per_class)
    print(f"{options.to}: {pictures} images of {len(CLASSES)} classes.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, interrupted="\ninterrupted; run the same command to go on"))
