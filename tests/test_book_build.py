"""The extensions of the book, in a small book of one chapter; where Sphinx is installed, as for `make docs`."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_microscope import BROWSER
from tests.tiny_runs import ROOT

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")
pytest.importorskip("furo")

CONF = f"""
import sys
sys.path[:0] = [{str(ROOT / "docs")!r}, {str(ROOT)!r}]
project = "small"
version = "1"
extensions = ["myst_parser", "sphinx.ext.mathjax", "wrapping", "tag_links", "site_search", "ebook"]
mathjax_path = "none.js"
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_show_search_summary = False
html_static_path = [{str(ROOT / "docs" / "static")!r}]
html_js_files = ["tags.js"]
epub_copyright = epub_description = epub_identifier = epub_uid = "small"
epub_css_files = []
epub_use_index = False
"""
CHAPTER = r"""# 7. Layer normalization

Backpropagation through it, $\hat x$: LN.4, `LN.3` and XX.1.

$$dx = r \binom n2^2 \tag{LN.4}$$

```{literalinclude} SOURCE
:pyobject: LayerNorm.backward
:dedent: 4
```

```{raw} html
<div class="piece" data-piece="softmax"></div>
```

## Elsewhere

Attention has a gradient.
"""


@pytest.fixture(scope="module", autouse=True)
def _reader() -> Iterator[None]:
    """`import tags` finds the reader of tags."""
    sys.path.insert(0, str(ROOT / "docs"))
    yield
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    (folder / "book").mkdir()
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    index = "# Small\n\n```{toctree}\nbook/07-layer-norm\nformulas\ninstall\n```\n"
    (folder / "index.md").write_text(index, encoding="utf-8")
    (folder / "install.md").write_text("# Installing\n\n## The book, to read and to run\n", encoding="utf-8")
    shutil.copy(ROOT / "docs" / "formulas.md", folder)
    source = os.path.relpath(ROOT / "model" / "layers" / "layer_norm.py", folder / "book")
    others = "".join(rf"$$y \tag{{LN.{number}}}$$" + "\n\n" for number in (1, 2, 3, 5))
    text = CHAPTER.replace("SOURCE", source) + "\n" + others
    (folder / "book" / "07-layer-norm.md").write_text(text, encoding="utf-8")
    return folder


def sphinx(builder: str, sources: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", builder, "-d", f"{out}-trees", str(sources), str(out)]
    made = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(scope="module")
def pages(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sphinx("html", sources, tmp_path_factory.mktemp("pages"))


def test_tags_lead_from_formula_to_line_and_from_everywhere_to_the_formula(pages: Path) -> None:
    page = (pages / "book" / "07-layer-norm.html").read_text(encoding="utf-8")
    formula = re.search(r'id="formula-LN-4".*?</p>', page, re.S)
    assert formula
    assert 'href="#line-LN-4">LN.4</a>' in formula[0]
    line = re.search(r'<span class="cited" id="line-LN-4">.*', page)
    assert line
    assert re.sub("<[^>]*>", "", line[0]).strip().startswith("dx = rstd")
    assert '<a class="tag" href="#formula-LN-4">LN.4</a>' in line[0]
    paragraph = re.search(r"<p>Backprop.*?</p>", page, re.S)
    assert paragraph
    assert re.findall(r'href="#(formula-[^"]*)"', paragraph[0]) == ["formula-LN-4", "formula-LN-3"]
    assert "and XX.1" in paragraph[0]


def test_the_index_has_every_tag_with_its_lines(pages: Path) -> None:
    import tags

    index = (pages / "formulas.html").read_text(encoding="utf-8")
    entries = re.split(r'<div class="formula [^>]*id="formula-', index)[1:]
    assert [entry.partition('"')[0].replace("-", ".") for entry in entries] == list(tags.formulas())
    for entry in entries:
        tag = entry.partition('"')[0].replace("-", ".")
        shown = [html.unescape(where) for where in re.findall(r'<span class="pre">([^<]*:\d+)</span>', entry)]
        assert shown == [f"{line.file}:{line.number}" for line in tags.lines()[tag]]
    assert 'href="book/07-layer-norm.html#line-LN-4"' in index


def test_every_tag_has_a_preview(pages: Path) -> None:
    import tags

    text = (pages / "_static" / "tag-previews.js").read_text(encoding="utf-8")
    shown = json.loads(text.removeprefix("const TAG_PREVIEWS = ").rstrip(";\n"))
    assert shown.keys() == tags.formulas().keys()
    assert all(about["lines"] and "<math" in about["formula"] for about in shown.values())
    assert shown["LN.4"]["lines"][0][0].startswith("model/layers/layer_norm.py:")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize(
    ("query", "section"), [("backprop", ""), ("backward", ""), ("attention+gradient", "elsewhere")]
)
def test_the_search_quotes_from_the_pages_of_a_book_opened_as_a_file(
    pages: Path, tmp_path: Path, query: str, section: str
) -> None:
    command = [BROWSER or "", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
               "--virtual-time-budget=5000", "--dump-dom", f"{(pages / 'search.html').as_uri()}?q={query}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False).stdout
    results = re.search(r'<ul role="list" class="search">(.*?)</ul>', shown, re.S)
    assert results, shown[-500:]
    found = re.search(r'href="[^"]*07-layer-norm\.html(#[^"]*)?"', results[1])
    assert found
    assert (found[1] or "#") == f"#{section}"
    assert '<p class="context">' in results[1]
    assert '<span class="highlighted">' in results[1]


def test_the_epub_is_whole_and_each_of_its_pages_is_xml_with_formulas(sources: Path, tmp_path: Path) -> None:
    out = sphinx("epub", sources, tmp_path)
    with zipfile.ZipFile(out / "small.epub") as book:
        names = book.namelist()
        assert names[0] == "mimetype"
        assert book.read("mimetype") == b"application/epub+zip"
        manifest = ET.fromstring(book.read("content.opf"))
        items = {item.get("href", ""): item.get("properties") or "" for item in manifest.findall(".//{*}item")}
        assert set(items) <= set(names)
        assert set(names) - set(items) == {"mimetype", "META-INF/container.xml", "content.opf"}
        for name, declared in items.items():
            if name.endswith(".xhtml"):
                page = ET.fromstring(book.read(name))
                assert (page.find(".//{http://www.w3.org/1998/Math/MathML}math") is not None) == ("mathml" in declared)
                assert page.find(".//{*}script") is None
        chapter = book.read("book/07-layer-norm.xhtml").decode()
    assert "install.xhtml#the-book-to-read-and-to-run" in chapter
