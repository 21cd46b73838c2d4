"""For Sphinx: a tag such as LN.4 is a link wherever it stands, and an index has them all.

The tag of a formula leads to the line of code that computes it, in a listing of its chapter if there is one, else in
another listing or in the index. A tag in the text or in a listing leads to the formula. static/tags.js shows what is
at the other end when a link is pointed at or has the focus; tag-previews.js, written here, has what it shows.

    ```{formulas}
    ```

is the index: every formula with its chapter and its lines of code.
"""

import json
import re
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import tags
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

INDEX = "formulas"
AS_WRITTEN = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.raw, nodes.reference, nodes.title)
SHOWN = 4  # lines of code in a preview

logger = logging.getLogger(__name__)


def formula_id(tag: str) -> str:
    return "formula-" + tag.replace(".", "-")


def line_id(tag: str) -> str:
    return "line-" + tag.replace(".", "-")


class Index(SphinxDirective):
    """Every formula, by chapter, and the lines that cite it."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(tags.__file__)
        made: list[nodes.Node] = []
        for (page, title), chapter in groupby(tags.formulas().values(), lambda formula: (formula.page, formula.title)):
            section = nodes.section("", nodes.title(title, title), ids=[page], names=[page])
            for formula in chapter:
                tex = rf"{formula.tex} \tag{{{formula.tag}}}"
                section += nodes.math_block(tex, tex, nowrap=False, number=None)
                for line in tags.lines()[formula.tag]:
                    where = f"{line.file}:{line.number}"
                    place = nodes.paragraph("", "", nodes.literal(where, where), classes=["where"])
                    code = nodes.literal_block(line.code, line.code, language="python")
                    section += nodes.container("", place, code, classes=["formula-line"])
            made.append(section)
        return made


class Place(NamedTuple):
    """Where a page shows a line that cites a tag."""

    file: str
    number: int
    anchor: str


def find_lines(app: Sphinx, tree: nodes.document) -> None:
    """Note which lines with tags the listings of a page show, and give them anchors: line-LN-4, line-LN-4-2, ..."""
    found: dict[str, list[Place]] = {}
    for listing in tree.findall(nodes.literal_block):
        file = source_of(listing)
        if not file:
            continue
        shown, marked = listing.astext().splitlines(), {}
        start = start_in((tags.ROOT / file).read_text(encoding="utf-8").splitlines(), shown)
        for tag, lines in tags.lines_of(file).items():
            for line in lines:
                row = line.number - 1 - start
                if 0 <= row < len(shown):
                    places = found.setdefault(tag, [])
                    anchor = line_id(tag) + (f"-{len(places) + 1}" if places else "")
                    places.append(Place(file, line.number, anchor))
                    marked.setdefault(row, []).append(anchor)
        listing["marked"] = marked
    kept_lines(app.env)[app.env.docname] = found


def kept_lines(env: Any) -> dict[str, dict[str, list[Place]]]:
    """For each page and tag, where its lines are; kept with what else Sphinx knows of the pages."""
    return vars(env).setdefault("tag_lines", {})


def source_of(listing: nodes.literal_block) -> str:
    """The file of this project that a listing shows a part of, or ""."""
    file = Path(listing.get("source") or "")
    return file.relative_to(tags.ROOT).as_posix() if file.suffix == ".py" and file.is_relative_to(tags.ROOT) else ""


def start_in(lines: list[str], shown: list[str]) -> int:
    """At which line, counted from 0, the lines begin that are shown; there they may be indented."""
    for start in range(len(lines) - len(shown) + 1):
        there = lines[start : start + len(shown)]
        if there[0].endswith(shown[0]) and textwrap.dedent("\n".join(there)).splitlines() == shown:
            return start
    raise ValueError(f"a listing is not in its file: {shown[0]}")


def forget(app: Sphinx, env: Any, page: str) -> None:
    kept_lines(env).pop(page, None)


def first_place(env: Any, tag: str) -> tuple[str, Place] | None:
    """The page and the place to which a formula leads: in its own chapter, or in another, those of one_page.py last."""
    chapter = f"book/{tags.formulas()[tag].page}"
    places = [(page, found[tag][0]) for page, found in sorted(kept_lines(env).items()) if tag in found]
    return min(places, key=lambda at: (at[0] != chapter, at[1].file == tags.ONE_PAGE), default=None)


class Targets:
    """Where tags lead to, seen from one page."""

    def __init__(self, builder: Any, page: str) -> None:
        self.builder, self.env, self.page = builder, builder.env, page

    def at(self, page: str, anchor: str) -> str:
        return f"{self.builder.get_relative_uri(self.page, page)}#{anchor}"

    def formula(self, tag: str) -> str | None:
        page = f"book/{tags.formulas()[tag].page}" if tag in tags.formulas() else None
        return self.at(page, formula_id(tag)) if page in self.env.found_docs else None

    def line(self, tag: str) -> str:
        found = first_place(self.env, tag)
        return self.at(found[0], found[1].anchor) if found else self.at(INDEX, formula_id(tag))

    def where(self, where: str) -> str | None:
        """Of "file:number", or None if no page shows this line."""
        for page, found in sorted(kept_lines(self.env).items()):
            for place in (place for places in found.values() for place in places):
                if f"{place.file}:{place.number}" == where:
                    return self.at(page, place.anchor)
        return None


def link(app: Sphinx, tree: nodes.document, page: str) -> None:
    if app.builder.format != "html":
        return
    targets = Targets(app.builder, page)
    for formula in list(tree.findall(nodes.math_block)):
        link_formula(formula, targets)
    for literal in list(tree.findall(nodes.literal)):
        text = literal.astext()
        address = targets.where(text) if page == INDEX else targets.formula(text)
        if address and not in_title_or_link(literal):
            classes = [] if page == INDEX else ["tag"]
            literal.replace_self(
                nodes.reference("", "", literal.deepcopy(), refuri=address, internal=True, classes=classes)
            )
    for text in list(tree.findall(nodes.Text)):
        if re.search(tags.TAG, text) and not isinstance(text.parent, AS_WRITTEN) and not in_title_or_link(text):
            text.parent.replace(text, linked_text(text, targets))


def in_title_or_link(node: nodes.Node) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, nodes.title | nodes.reference):
            return True
        parent = parent.parent
    return False


def link_formula(formula: nodes.math_block, targets: Targets) -> None:
    """The number of a formula stands beside it as a link, and not in it."""
    found = re.fullmatch(r"(.*)\\tag\{(\S+?)\}\s*", formula.astext(), re.S)
    if not found:
        return
    tag = found[2]
    tex = linked_words(found[1].strip(), targets)
    there = targets.formula(tag) if targets.page == INDEX else targets.line(tag)
    number = nodes.reference("", tag, refuri=there, internal=True, classes=["tag"]) if there else nodes.Text(tag)
    formula.replace_self(
        nodes.container(
            "",
            nodes.math_block(tex, tex, nowrap=False, number=None),
            nodes.paragraph("", "", nodes.Text("("), number, nodes.Text(")"), classes=["number"]),
            classes=["formula"],
            ids=[formula_id(tag)],
        )
    )


def linked_words(tex: str, targets: Targets) -> str:
    """A formula in whose words the tags are links, as MathJax has them."""

    def link(found: re.Match[str]) -> str:
        address = targets.formula(found[0])
        return rf"}}\href{{{address}}}{{\text{{{found[0]}}}}}\text{{" if address else found[0]

    if targets.builder.name == "epub":
        return tex
    return re.sub(r"\\text\{[^{}]*\}", lambda words: re.sub(tags.TAG, link, words[0]), tex)


def linked_text(text: str, targets: Targets) -> list[nodes.Node]:
    made: list[nodes.Node] = []
    end = 0
    for found in re.finditer(tags.TAG, text):
        address = targets.formula(found[0])
        if address:
            made.append(nodes.Text(text[end : found.start()]))
            made.append(nodes.reference("", found[0], refuri=address, internal=True, classes=["tag"]))
            end = found.end()
    return [*made, nodes.Text(text[end:])]


def visit_listing(self: HTML5Translator, node: nodes.literal_block) -> None:
    """As Sphinx shows it, with links."""
    try:
        HTML5Translator.visit_literal_block(self, node)
    finally:  # the text is complete when this raises SkipNode
        targets = Targets(self.builder, self.builder.current_docname)
        self.body[-1] = tags.linked(self.body[-1], targets.formula, node.get("marked", {}))


def leave_listing(self: HTML5Translator, node: nodes.literal_block) -> None:
    HTML5Translator.depart_literal_block(self, node)


def previews(env: Any) -> str:
    """The text of tag-previews.js; of the lines, the one to which the formula leads comes first."""
    shown = {}
    for tag, formula in tags.formulas().items():
        found = first_place(env, tag)
        place = found[1][:2] if found else None
        lines = sorted(tags.lines()[tag], key=lambda line: (line.file, line.number) != place)[:SHOWN]
        shown[tag] = {
            "formula": tags.mathml(formula.tex),
            "title": formula.title,
            "lines": [(f"{line.file}:{line.number}", line.code) for line in lines],
        }
    return "const TAG_PREVIEWS = " + json.dumps(shown, ensure_ascii=False, separators=(",", ":")) + ";\n"


def complete(app: Sphinx, error: Exception | None) -> None:
    """Write the previews, and see that every link of a tag leads somewhere."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    (out / "_static" / "tag-previews.js").write_text(previews(app.env), encoding="utf-8", newline="\n")
    ids: dict[Path, set[str]] = {}
    for page in out.rglob("*.html"):
        for address in re.findall(
            r'<a class="(?:tag[^"]*|[^"]* tag)" href="([^"]*)"', page.read_text(encoding="utf-8")
        ):
            file, _, anchor = address.partition("#")
            there = (page.parent / file).resolve() if file else page
            if there not in ids:
                ids[there] = (
                    set(re.findall(r' id="([^"]*)"', there.read_text(encoding="utf-8"))) if there.exists() else set()
                )
            if anchor not in ids[there]:
                logger.warning("%s: the link of a tag leads nowhere: %s", page.relative_to(out), address)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("formulas", Index)
    app.connect("doctree-read", find_lines)
    app.connect("env-purge-doc", forget)
    app.connect("doctree-resolved", link, priority=600)  # after wrapping.py
    app.connect("build-finished", complete)
    app.add_node(nodes.literal_block, override=True, html=(visit_listing, leave_listing))
    return {"parallel_read_safe": False, "parallel_write_safe": True}
