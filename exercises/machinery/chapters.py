"""Where the book asks for which exercise. The book says so itself, in paragraphs that begin with "Now you"."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

BOOK = Path(__file__).resolve().parent.parent.parent / "docs" / "book"


class Place(NamedTuple):
    """A chapter and the position in it, which sort in book order."""

    page: str  # "08-attention.md"
    position: int

    @property
    def chapter(self) -> int:
        return int(self.page[:2])


@cache
def places(book: Path = BOOK) -> dict[str, Place]:
    """Each word in backticks of a paragraph "Now you", such as `softmax`, and where it first stands in one."""
    found: dict[str, Place] = {}
    for page in sorted(book.glob("[0-9][0-9]-*.md")):
        text = page.read_text(encoding="utf-8")
        for task in re.finditer(r"^\*\*Now you\.\*\*.*?\n\n", text, re.MULTILINE | re.DOTALL):
            for name in re.finditer(r"`(\w+)`", task[0]):
                found.setdefault(name[1], Place(page.name, task.start() + name.start()))
    return found
