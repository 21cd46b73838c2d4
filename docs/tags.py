"""The tags, such as LN.4: the formula that a chapter gives each of them, and the lines of code that cite it.

Everything here is read from the chapters and the sources as they are. The links between the two (tag_links.py), the
index of formulas and the microscope all take it from here.
"""

import html
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ONE_PAGE = "model/one_page.py"
PACKAGES = ("model", "optim", "data", "training", "verify", "checks")

TAG = r"\b([A-Z]{2,})\.(\d+)\b"
RANGE = TAG + r" to \1\.(\d+)"


class Formula(NamedTuple):
    tag: str
    tex: str
    page: str  # the chapter's file, without .md
    title: str  # of the chapter
    exercises: tuple[str, ...]  # of the chapter, first of all those beside the tag


class Line(NamedTuple):
    file: str
    number: int
    code: str
    function: str  # the outermost that the line is in; "" outside of any


@cache
def formulas() -> dict[str, Formula]:
    """The formulas of the book by their tags, in its order."""
    found = {}
    for page in sorted((HERE / "book").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        title = re.findall(r"^# (.*)$", text, re.M)[0]
        tasks = re.findall(r"^\*\*Now you\.\*\*.*?\n\n", text, re.M | re.S)
        clauses = [clause for task in tasks for clause in re.split(r"[;.]\s", task)]
        all_named = [name for clause in clauses for name in exercises_in(clause)]
        for tex, tag in re.findall(r"^\$\$((?:(?!\$\$).)*)\\tag\{(\S+?)\}\$\$", text, re.M | re.S):
            fitting = [name for clause in clauses if tag in cited(clause) for name in exercises_in(clause)]
            some = fitting or (all_named if len(all_named) < 3 else all_named[-1:])
            found[tag] = Formula(tag, tex.strip(), page.stem, title, tuple(some[:2]))
    return found


def exercises_in(text: str) -> list[str]:
    """The exercises that a text names."""
    return [name for name in re.findall(r"`(\w+)`", text) if (ROOT / "exercises" / f"{name}.py").exists()]


def cited(text: str) -> set[str]:
    """The tags in a text; "LN.3 to LN.5" are three."""
    tags = {f"{letters}.{number}" for letters, number in re.findall(TAG, text)}
    for letters, first, last in re.findall(RANGE, text):
        tags |= {f"{letters}.{number}" for number in range(int(first), int(last) + 1)}
    return tags


def by_number(tags: set[str]) -> list[str]:
    """LN.2 before LN.10."""
    return sorted(tags, key=lambda tag: (tag.partition(".")[0], int(tag.partition(".")[2])))


@cache
def lines_of(file: str) -> dict[str, list[Line]]:
    """For each tag, the lines of a file whose comment cites it."""
    found: dict[str, list[Line]] = {}
    function = ""
    for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
        started = re.match(r"def (\w+)|class |\S", line)
        function = (started[1] or "") if started and not line.startswith(")") else function
        code, _, comment = line.partition("  # ")
        if code.strip():
            for tag in cited(comment):
                found.setdefault(tag, []).append(Line(file, number, code.strip(), function))
    return found


@cache
def lines() -> dict[str, list[Line]]:
    """For each tag, the lines that cite it, in the reading order of the code; the model on one page comes last."""
    files = [
        file.relative_to(ROOT).as_posix() for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))
    ]
    found: dict[str, list[Line]] = {}
    for file in sorted(files, key=lambda file: file == ONE_PAGE):
        for tag, some in lines_of(file).items():
            found.setdefault(tag, []).extend(some)
    return found


def mathml(tex: str, display: str = "block") -> str:
    """A formula as MathML, which browsers and e-readers show by themselves; the letters of a word are one name."""
    tex = re.sub(r"\\binom\s*(\{[^}]*\}|\w)\s*(\{[^}]*\}|\w)", r"{\\binom{\1}{\2}}", tex)  # as one, if it has a power
    from latex2mathml.converter import convert  # not needed by the cells of a notebook, which import this module

    made = convert(tex, display=display).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    letters = r'(?:<mi mathvariant="normal">\w</mi>){2,}'
    return re.sub(letters, lambda word: f"<mi>{''.join(re.findall('>(.)<', word[0]))}</mi>", made)


def linked(listing: str, target: Callable[[str], str | None], marked: dict[int, list[str]]) -> str:
    """A listing in HTML, as Pygments makes it, with links from its tags and marks on its lines.

    `target` gives the address of a tag, or None where it leads nowhere; `marked` the ids of lines, counted from 0.
    """

    def link(part: re.Match[str]) -> str:
        address = None if part[0].startswith("<") else target(part[0])
        return f'<a class="tag" href="{html.escape(address)}">{part[0]}</a>' if address else part[0]

    start, pre, rest = listing.partition("<pre>")
    rows = re.sub(rf"<[^>]*>|{TAG}", link, rest).split("\n")
    for number, ids in marked.items():
        rows[number] = (
            "".join(f'<span class="cited" id="{name}">' for name in ids) + rows[number] + "</span>" * len(ids)
        )
    return start + pre + "\n".join(rows)
