"""For Sphinx: the book as an EPUB, `make book`.

What needs a script becomes something that an e-reader can show: formulas become MathML, and the figures that can be
moved, and links into the microscope, a word on where they are.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import tags
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.writers.html5 import HTML5Translator

WHERE = ("install", "the-book-to-read-and-to-run")  # page and section that say how to make the pages for a browser
MOVED = "In the pages for a browser, here is a figure that can be moved by hand ("
HOW = "how to make these pages"
TO_MICROSCOPE = r'href="(?:\.\./)*_static/microscope/[^"]*"'


class Book(Epub3Builder):
    """Sphinx's builder, with what EPUB 3 asks to be declared of pages, and without what is for browsers only."""

    def init(self) -> None:
        self.config.html_static_path = ["static/ebook.css"]
        self.config.html_js_files = []
        super().init()

    def build_content(self) -> None:
        super().build_content()
        file = Path(self.outdir) / "content.opf"
        text = file.read_text(encoding="utf-8")
        text = re.sub(r'<item id="[^"]*" href="([^"]*\.xhtml)"', self._declared, text)
        file.write_text(text, encoding="utf-8", newline="\n")

    def _declared(self, item: re.Match[str]) -> str:
        page = Path(self.outdir) / item[1]
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        found = [name for name, sign in (("mathml", "<math"), ("svg", "<svg")) if sign in text]
        return f'{item[0]} properties="{" ".join(found)}"' if found else item[0]


def visit_formula(self: HTML5Translator, node: nodes.math) -> None:
    if self.builder.name != "epub":
        return HTML5Translator.visit_math(self, node)
    self.body.append(formula(node.astext(), "inline"))
    raise nodes.SkipNode


def leave_formula(self: HTML5Translator, node: nodes.math) -> None:
    HTML5Translator.depart_math(self, node)


def visit_formula_block(self: HTML5Translator, node: nodes.math_block) -> None:
    if self.builder.name != "epub":
        return HTML5Translator.visit_math_block(self, node)
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(formula(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def leave_formula_block(self: HTML5Translator, node: nodes.math_block) -> None:
    HTML5Translator.depart_math_block(self, node)


def formula(tex: str, display: str) -> str:
    return tags.mathml(tex, display).replace("<math ", '<math xmlns="http://www.w3.org/1998/Math/MathML" ')


def for_readers(app: Sphinx, tree: nodes.document, page: str) -> None:
    """What is written as HTML becomes XHTML without scripts."""
    if app.builder.name != "epub":
        return
    address = f"{app.builder.get_relative_uri(page, WHERE[0])}#{WHERE[1]}"
    for number, raw in enumerate(list(tree.findall(nodes.raw))):
        text = raw.astext()
        if 'class="piece"' in text:
            link = nodes.reference("", HOW, refuri=address, internal=True)
            raw.replace_self(nodes.paragraph("", "", nodes.Text(MOVED), link, nodes.Text(")."), classes=["moved"]))
        elif re.search(TO_MICROSCOPE, text):
            raw.replace_self(nodes.raw("", re.sub(TO_MICROSCOPE, f'href="{address}"', text), format="html"))
        elif "<svg" in text:
            raw.replace_self(nodes.raw("", figure(text, f"f{number}-"), format="html"))


def figure(html: str, prefix: str) -> str:
    """A figure with ids of its own, each once: matplotlib gives all figures, and equal parts of one, the same."""
    seen: set[str] = set()

    def once(found: re.Match[str]) -> str:
        new = found[1] not in seen
        seen.add(found[1])
        return f' id="{prefix}{found[1]}"' if new else ""

    html = re.sub(r"<metadata>.*?</metadata>", "", html, flags=re.S)
    html = re.sub(r' id="([^"]*)"', once, html)
    html = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", html)
    ET.fromstring(html)  # as a page it has to be XML
    return html


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.builders.epub3")
    app.add_builder(Book, override=True)
    app.add_node(nodes.math, override=True, html=(visit_formula, leave_formula))
    app.add_node(nodes.math_block, override=True, html=(visit_formula_block, leave_formula_block))
    app.connect("doctree-resolved", for_readers, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
