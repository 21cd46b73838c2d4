"""The tags: what links, index, previews and the microscope take from the chapters and the sources."""

import importlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.tiny_runs import ROOT, docs_on_path

PAGES = sorted((ROOT / "docs").rglob("*.md"))
PACKAGES = ("model", "optim", "data", "training", "verify", "checks")
PARTS = {"mfrac": 2, "msup": 2, "msub": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3, "mroot": 2}


@pytest.fixture(scope="module")
def tags() -> Iterator[ModuleType]:
    with docs_on_path():
        yield importlib.import_module("tags")


def test_every_tag_of_the_sources_has_a_formula_and_a_line(tags: ModuleType) -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    written = {tag for file in files for tag in re.findall(r"\b[A-Z]{2,}\.\d+\b", file.read_text(encoding="utf-8"))}
    assert written == tags.formulas().keys() == tags.lines().keys()
    for tag, formula in tags.formulas().items():
        page = (ROOT / "docs" / "book" / f"{formula.page}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {formula.title}\n")
        assert formula.tex in page
        for line in tags.lines()[tag]:
            there = (ROOT / line.file).read_text(encoding="utf-8").splitlines()[line.number - 1]
            code, _, comment = there.partition("  # ")
            assert code.strip() == line.code
            assert tag in tags.cited(comment)


def test_every_formula_can_be_shown_without_a_script(tags: ModuleType) -> None:
    """As MathML, in which every part that an element needs is there."""
    found = 0
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for block, inline in re.findall(r"^\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<!\s)\$", text, re.M | re.S):
            tex = re.sub(r"\\tag\{.*?\}", "", block or inline)
            made = ET.fromstring(tags.mathml(tex, "block" if block else "inline"))
            assert "\\" not in "".join(made.itertext()), tex
            for element in made.iter():
                assert len(element) == PARTS.get(element.tag, len(element)), tex
            found += 1
    assert found > 2000


def test_a_range_of_tags_names_all_of_them(tags: ModuleType) -> None:
    assert tags.by_number(tags.cited("LN.3 to LN.5, MHA.10, as in LN.2")) == ["LN.2", "LN.3", "LN.4", "LN.5", "MHA.10"]


def test_a_listing_gets_links_and_marks_and_keeps_its_text(tags: ModuleType) -> None:
    code = '<span class="n">b</span> <span class="c1"># LN.4, XX.1</span>'
    listing = f'<div class="highlight"><pre><span></span>a = 1\n{code}\n</pre></div>'
    made = tags.linked(listing, lambda tag: f"p.html#{tag}" if tag == "LN.4" else None, {1: ["line-LN-4"]})
    assert '<a class="tag" href="p.html#LN.4">LN.4</a>, XX.1' in made
    assert '\n<span class="cited" id="line-LN-4"><span class="n">b</span>' in made
    assert re.sub(r"<[^>]*>", "", made) == re.sub(r"<[^>]*>", "", listing)
    assert made.count("<span") == made.count("</span>")
