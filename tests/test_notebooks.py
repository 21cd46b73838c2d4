"""The chapters as notebooks; where nbformat and Sphinx are installed, as for `make notebooks`, which also runs them."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tiny_runs import ROOT, docs_on_path

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("sphinx")
pytest.importorskip("mdit_py_plugins")

BOOK = sorted((ROOT / "docs" / "book").glob("*.md"))


@pytest.fixture(scope="module")
def notebooks() -> Iterator[ModuleType]:
    with docs_on_path():
        yield importlib.import_module("notebooks")


def text_of(notebook: Any, kind: str) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


@pytest.mark.parametrize("page", BOOK, ids=lambda page: page.stem)
def test_a_notebook_has_the_cells_the_formulas_and_the_code_of_its_chapter(
    notebooks: ModuleType, page: Path, tmp_path: Path
) -> None:
    made = notebooks.Chapter(page, ROOT / "build" / "notebooks", "", "").notebook()
    nbformat.validate(made)
    source = page.read_text(encoding="utf-8")
    cells = re.findall(r"^```\{cell\}\n(?::fold:\n)?(.*?)\n?^```$", source, re.M | re.S)
    assert text_of(made, "code")[1:] == [cell.strip("\n") for cell in cells]
    text = "\n".join(text_of(made, "markdown"))
    assert not re.search(r"^\s*[`:]{3,}\{", text, re.M)  # of MyST alone
    assert text.count("```python\n# ") == source.count("```{literalinclude}")
    for tag in re.findall(r"\\tag\{.*?\}", source):
        assert tag in text
    for link in re.findall(r"(?<!!)\[[^\]]*\]\((?!http)([^)\s#]+)", text):
        there = (page.parent if link.endswith(".ipynb") else ROOT / "build" / "notebooks") / link
        there = there.with_suffix(".md") if link.endswith(".ipynb") else there.resolve()
        assert there.is_relative_to(ROOT / "build" / "docs") or there.exists(), link
    assert "microscope" not in "".join(re.findall(r'href="[^"]*"', text))


def test_what_is_not_in_a_notebook_is_linked_to_where_it_is(notebooks: ModuleType) -> None:
    page = next(page for page in BOOK if page.stem.startswith("07"))
    address = "https://github.com/Somebody/vit"
    made = notebooks.Chapter(page, ROOT, address, notebooks.site_of(address)).notebook()
    text = "\n".join(text_of(made, "markdown"))
    assert f"({address}/blob/HEAD/model/layers/layer_norm.py)" in text
    assert "(https://somebody.github.io/vit/_static/microscope/index.html#t=" in text
    assert "(https://somebody.github.io/vit/book/07-layer-norm.html)" in text
    assert f'REPOSITORY = "{address}"' in text_of(made, "code")[0]


def test_a_box_of_the_page_is_a_part_of_the_text_with_its_cells(notebooks: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "99-box.md"
    page.write_text(
        "# 99. Box\n\n:::{admonition} Optional: more\n:class: tip\n\nOne.\n\n```{cell}\nprint(1)\n```\n\nTwo.\n:::\n",
        encoding="utf-8",
    )
    chapter = notebooks.Chapter(page, tmp_path, "", "")
    cells = list(chapter.cells(page.read_text(encoding="utf-8")))
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown"]
    assert "**Optional: more**" in cells[0].source
    assert cells[0].source.endswith("One.")
    assert cells[1].source == "print(1)"
    assert "Two." in cells[2].source
