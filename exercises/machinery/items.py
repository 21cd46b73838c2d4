"""All exercises of whatever kind, in book order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from exercises.machinery.catalogue import EXERCISES
from exercises.machinery.chapters import Place, places
from exercises.machinery.checking import check
from exercises.machinery.effort import EFFORTS, Effort
from exercises.machinery.faults import check_fault, fault_lines
from exercises.machinery.outcome import Outcome
from exercises.machinery.shapes import shapes
from exercises.machinery.vit_exercise import check_vit, vit_lines

Checker = Callable[[Path, bool, bool], Outcome]


class Item(NamedTuple):
    """An exercise: `check(path, reveal, brief)` checks a file, `shapes(path)` tells what is asked for."""

    title: str
    check: Checker
    shapes: Callable[[Path], list[str]]
    place: Place | None  # in the book; None if no chapter names it
    effort: Effort
    derives: bool  # whether the reader writes the derivatives, so that JAX's are no answer


def _items() -> Iterator[tuple[str, Item]]:
    def item(name: str, title: str, check: Checker, shapes: Callable[[Path], list[str]]) -> tuple[str, Item]:
        return name, Item(title, check, shapes, places().get(name), EFFORTS[name], not name.startswith("fault_"))

    for exercise in EXERCISES:
        yield item(
            exercise.name, exercise.title,
            lambda path, reveal, brief, e=exercise: check(e, path, reveal),  # type: ignore[misc]
            lambda path, e=exercise: shapes(e),  # type: ignore[misc]
        )  # fmt: skip
    for name in ("fault_1", "fault_2", "fault_3"):
        yield item(
            name, "A fault to find",
            lambda path, reveal, brief: check_fault(path.stem, path, experiment=not brief),
            lambda path: fault_lines(path.stem, path),
        )  # fmt: skip
    yield item(
        "vit", "A ViT trains with your own layers",
        lambda path, reveal, brief: check_vit(path, reveal),
        lambda path: vit_lines(),
    )  # fmt: skip


def _in_book_order(named: tuple[str, Item]) -> tuple[bool, Place]:
    place = named[1].place
    return place is None, place or Place("", 0)


ITEMS = dict(sorted(_items(), key=_in_book_order))
