"""For Sphinx: the search knows synonyms, and shows excerpts also where the book is opened as a file.

Sphinx would fetch each page that it has found, to quote from it, and browsers refuse that to a file. So the text of all
sections is written to search-texts.js, which the search page loads; static/search.js quotes from it, links to the
section, and puts those pages first that say most about the words.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import tags
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

SYNONYMS = (
    ("backprop", "backpropagate", "backpropagated", "backpropagation", "backward", "backwards"),
    ("derivative", "derivatives", "gradient", "gradients"),
    ("autodiff", "autograd"),
    ("params", "parameter", "parameters"),
    ("optimiser", "optimizer"),
)
"""Who searches for one of a row finds what says another."""


class English(SearchEnglish):
    """A page with a word is found by the others of its row."""

    def split(self, input: str) -> list[str]:
        words = super().split(input)
        said = {word.lower() for word in words}
        return words + [word for row in SYNONYMS if said.intersection(row) for word in row]


@cache
def in_words(tex: str) -> str:
    """A formula as a line of text, near enough for an excerpt."""
    try:
        made = tags.mathml(re.sub(r"\\tag\{(.*?)\}", r"\\qquad \1", tex), "inline")
    except Exception:  # whatever the converter does not know: an excerpt does without
        return ""
    return re.sub(r"&#x[0-9A-F]+;", lambda code: chr(int(code[0][3:-1], 16)), re.sub(r"<[^>]*>", "", made))


def texts_of(section: nodes.Element) -> tuple[str, str]:
    """What a section says, without the sections in it: the text, and the code and what it prints."""
    text: list[str] = []
    code: list[str] = []

    def read(node: nodes.Node) -> None:
        if isinstance(node, nodes.math | nodes.math_block):
            text.append(in_words(node.astext()) + (" " if isinstance(node, nodes.math_block) else ""))
        elif isinstance(node, nodes.literal_block):
            code.append(node.astext() + "\n")
        elif isinstance(node, nodes.Text):
            text.append(str(node))
        elif not isinstance(node, nodes.section | nodes.raw | nodes.comment | nodes.title):
            for child in node.children:
                read(child)
            if isinstance(node, nodes.TextElement) and not isinstance(node, nodes.Inline):
                text.append(" ")

    for child in section.children:
        read(child)
    return " ".join("".join(text).split()), " ".join("".join(code).split())


def collect(app: Sphinx, tree: nodes.document, page: str) -> None:
    if app.builder.name != "html":
        return
    sections = [
        [section["ids"][0] if section["ids"] else "", section[0].astext(), *texts_of(section)]
        for section in tree.findall(nodes.section)
    ]
    vars(app.builder).setdefault("search_texts", {})[page] = sections


def load(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    if page == "search" and app.builder.name == "html":
        for name in ("search-texts.js", "search.js"):
            app.add_js_file(name, defer="defer")


def complete(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        chapters = {tag: f"book/{formula.page}" for tag, formula in tags.formulas().items()}
        data = {"synonyms": SYNONYMS, "tags": chapters, "pages": vars(app.builder).get("search_texts", {})}
        script = "const SEARCH_TEXTS = " + json.dumps(data, ensure_ascii=False, separators=(",", ":")) + ";\n"
        (Path(app.outdir) / "_static" / "search-texts.js").write_text(script, encoding="utf-8", newline="\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(English)
    app.connect(
        "doctree-resolved", collect, priority=400
    )  # before tags become links, and their numbers leave the formulas
    app.connect("html-page-context", load)
    app.connect("build-finished", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
