"""The guesses of an evaluation, `evaluate.py --csv`: which images of a class were taken for which other one; and the
images that `training.validation_images` has written."""

import csv
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from training.classes import short_names
from training.validation_images import LISTING


class Guess(NamedTuple):
    """Of one validation image; classes by their ids."""

    number: int
    label: str
    predicted: str
    probability: float


class Guesses(NamedTuple):
    names: dict[str, str]  # short, by id, in the order of the ids
    images: tuple[Guess, ...]

    def cell(self, label: str, predicted: str) -> list[Guess]:
        """The images of a class that were taken for another, or for itself: the most confident first."""
        found = [g for g in self.images if (g.label, g.predicted) == (label, predicted)]
        return sorted(found, key=lambda g: (-g.probability, g.number))

    def mistakes(self) -> list[Guess]:
        """The most confident first."""
        return sorted((g for g in self.images if g.label != g.predicted), key=lambda g: (-g.probability, g.number))

    def counts(self) -> Counter[tuple[str, str]]:
        """How many images of a class (first) were taken for a class (second)."""
        return Counter((g.label, g.predicted) for g in self.images)

    def taken_for(self, label: str) -> list[tuple[str, int]]:
        """What images of a class were taken for, and how many: itself first, then the most frequent."""
        counts = Counter(g.predicted for g in self.images if g.label == label)
        return sorted(counts.items(), key=lambda item: (item[0] != label, -item[1], item[0]))


def read_guesses(path: Path) -> Guesses:
    """Raises OSError or ValueError if the file is missing or damaged."""
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: damaged ({error})") from None


def read_listing(folder: Path) -> list[tuple[Path, str]]:
    """The images in a folder of `training.validation_images`, with the first name of the class of each; none if their
    list is missing or damaged."""
    try:
        with open(folder / LISTING, newline="", encoding="utf-8") as file:
            return [(folder / row["file"], row["name"].partition(",")[0]) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return []


@lru_cache(maxsize=4)
def _read(path: Path, written: int) -> Guesses:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names: dict[str, str] = {}
    for row in rows:
        names[row["wnid"]] = row["name"]
    for row in rows:
        names.setdefault(row["predicted_wnid"], row["predicted"])
    images = (Guess(int(r["number"]), r["wnid"], r["predicted_wnid"], float(r["probability"])) for r in rows)
    return Guesses(short_names(dict(sorted(names.items()))), tuple(images))
