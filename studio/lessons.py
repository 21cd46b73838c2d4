"""A part of the model as a lesson: its source, the chapter that derives it, and mistakes that can be planted in it."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from checks.mutants import Mutant, load_mutants
from studio.jobs import ROOT

BOOK = ROOT / "docs" / "book"
BEGINNING = re.compile(r"^# (?:\d+\. )?(.+)$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}|:{3,})(\{[^}]*\})?([^\n]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"^\$\$(.+?)\$\$$", re.MULTILINE | re.DOTALL)
INCLUDED = re.compile(r"[\w./-]+\.py")
LINK = re.compile(r"!?\[([^\]]*)\]\((?!https?:)[^)]*\)")
TAG = re.compile(r"<[^>\n]+>")


class Part(NamedTuple):
    """A file of the model or the optimizers in which mistakes can be planted."""

    file: str  # model/layers/dense.py
    classes: tuple[str, ...]  # that have a backward, or the first of them
    chapter: Path | None

    @property
    def name(self) -> str:
        return f"{', '.join(self.classes) or Path(self.file).stem} ({self.file})"


class Check(NamedTuple):
    """What `gradcheck.py --only` can check by itself."""

    only: str
    file: str

    @property
    def name(self) -> str:
        return f"{self.only} ({self.file})"


OTHERWISE = {  # the names of the cases of a file, where they are not those of its classes
    "model/layers/patch_embedding.py": ("PatchEmbedding",),
    "optim/clip.py": ("clipping",),
    "model/one_page.py": ("vit_backward",),
}
WHOLE = (  # what is made of the parts
    Check("FeedForward", "model/layers/feed_forward.py"),
    Check("EncoderBlock", "model/encoder.py"),
    Check("ViT", "model/vit.py"),
)


@cache
def checks() -> tuple[Check, ...]:
    """The parts that can be checked, in the order of the list of mistakes, and then what is made of them."""
    own = [Check(only, part.file) for part in parts() for only in OTHERWISE.get(part.file, part.classes)]
    return (*own, *WHOLE)


@cache
def parts() -> tuple[Part, ...]:
    """In the order of the list of mistakes."""
    files = dict.fromkeys(mutant.file for mutant in load_mutants())
    return tuple(Part(file, _classes(file), chapter_of(file)) for file in files)


def _classes(file: str) -> tuple[str, ...]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = ("backward", "update", "loss_and_gradient")
    return tuple(c.name for c in classes if any(isinstance(n, ast.FunctionDef) and n.name in methods for n in c.body))


def mistakes_in(file: str) -> list[Mutant]:
    return [mutant for mutant in load_mutants() if mutant.file == file]


def chapter_of(file: str) -> Path | None:
    """The first chapter that links to a file."""
    for chapter in sorted(BOOK.glob("[0-9]*.md")):
        if f"](../../{file})" in chapter.read_text(encoding="utf-8") and not chapter.name.startswith(("00", "01")):
            return chapter
    return None


def title_of(chapter: Path) -> str:
    found = BEGINNING.search(chapter.read_text(encoding="utf-8"))
    return found[1] if found else chapter.stem


def readable(chapter: Path) -> str:
    """The text of a chapter without what only the built book has: cells that run, figures, links within the book."""
    text = chapter.read_text(encoding="utf-8")
    text = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)

    def block(found: re.Match[str]) -> str:
        directive, argument, body = found[2] or "", found[3].strip(), found[4]
        if directive == "{cell}":
            code = "\n".join(line for line in body.splitlines() if not line.startswith(":"))
            return f"```python\n{code.strip()}\n```"
        if directive == "{literalinclude}":
            file = INCLUDED.search(argument)
            return f"*see {file[0].replace('../', '')}*" if file else ""
        return found[0] if not directive else ""

    text = FENCE.sub(block, text)
    text = FORMULA.sub(r"\n$$\n\1\n$$\n", text)  # in a line of its own, or it is set small, and may have no tag
    return LINK.sub(r"\1", TAG.sub("", text))


def patch_of(mutant: Mutant) -> str:
    """What a mistake changes, as a diff."""
    lines = []
    for right, wrong in mutant.patches:
        lines += [f"- {line}" for line in right.splitlines()]
        lines += [f"+ {line}" for line in wrong.splitlines()]
    return "\n".join(lines)
