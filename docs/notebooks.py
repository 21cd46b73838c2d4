"""The chapters of the book as Jupyter notebooks: `make notebooks`.

    python docs/notebooks.py FOLDER [--run] [--repository ADDRESS] [--site ADDRESS] [--only CHAPTER ...]

A notebook has the text, the formulas, the code and the cells of its chapter. The first cell finds the project, or
clones it from the repository where it is not at hand, as in Colab. `--run` runs each from start to end and keeps what
its cells print and draw. What only a page can show, such as a figure that can be moved, becomes a sentence with a link
to the pages: to those of `--site`, else to build/docs beside the notebooks.
"""

import argparse
import base64
import mimetypes
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.config import Config
from sphinx.directives.code import LiteralIncludeReader

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BOOK = HERE / "book"

BEGIN = """\
# @title Run this cell first: it finds the project, or fetches it where it is not at hand, as in Colab
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = "{repository}"  # the address of the project, as `git clone` takes it

here = Path.cwd()
places = (here, *here.parents, here / "vit-by-hand")
root = next((place for place in places if (place / "docs" / "lab.py").exists()), None)
if root is None:
    if not REPOSITORY:
        raise RuntimeError("set REPOSITORY to the address of the project, or start Jupyter in its folder")
    root = here / "vit-by-hand"
    subprocess.run(["git", "clone", "--depth", "1", REPOSITORY, str(root)], check=True)
    requirements = str(root / "requirements-plots.txt")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
os.chdir(root)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path[:0] = [str(root / "docs"), str(root)]

import lab

lab.in_notebook()"""

HIDDEN = {"jupyter": {"source_hidden": True}}  # a cell of which only the output is seen at once
MARKDOWN = MarkdownIt("commonmark").use(colon_fence_plugin)


class Chapter:
    """A page of the book on its way to a notebook in `folder`."""

    def __init__(self, page: Path, folder: Path, repository: str, site: str) -> None:
        self.page, self.folder, self.repository, self.site = page, folder, repository, site

    def notebook(self) -> NotebookNode:
        cells = list(self.cells(self.page.read_text(encoding="utf-8")))
        first = cells[0].source.splitlines()
        title, rest = first[0], "\n".join(first[1:]).strip()
        find = new_code_cell(BEGIN.format(repository=self.repository))
        find.metadata = {"cellView": "form", **HIDDEN}
        begin = [new_markdown_cell(f"{title}\n\n{self.neighbours()}"), find]
        made = new_notebook(cells=[*begin, *([new_markdown_cell(rest)] if rest else []), *cells[1:]])
        made.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                         "language_info": {"name": "python"}}  # fmt: skip
        for number, cell in enumerate(made.cells):
            cell.id = f"cell-{number}"
        return made

    def neighbours(self) -> str:
        """Links to the chapters before and after this one, and to its page."""
        pages = sorted(BOOK.glob("*.md"))
        at = pages.index(self.page)
        named = [(word, pages[i]) for word, i in (("before", at - 1), ("next", at + 1)) if 0 <= i < len(pages)]
        links = [f"{word}: [{title_of(page)}]({page.stem}.ipynb)" for word, page in named]
        return " | ".join([*links, f"[as a page]({self.at_site(f'book/{self.page.stem}.html')})"])

    def at_site(self, page: str) -> str:
        return f"{self.site}/{page}" if self.site else os.path.relpath(ROOT / "build" / "docs" / page, self.folder)

    def cells(self, text: str) -> Iterator[NotebookNode]:
        """Code cells for cells, and what is between them as Markdown."""
        written: list[str] = []
        for part in self.parts(text):
            if isinstance(part, str):
                written.append(part)
                continue
            if "".join(written).strip():
                yield new_markdown_cell("\n".join(written).strip())
            written = []
            yield part
        if "".join(written).strip():
            yield new_markdown_cell("\n".join(written).strip())

    def parts(self, text: str) -> Iterator[str | NotebookNode]:
        lines, done = text.splitlines(), 0
        for token in MARKDOWN.parse(text):
            directive = re.match(r"\{([\w-]+)\}\s*(.*)", token.info) if token.type in ("fence", "colon_fence") else None
            if directive is None or token.level or token.map is None:
                continue
            yield self.markdown("\n".join(lines[done : token.map[0]]))
            yield from self.directive(directive[1], directive[2].strip(), token.content)
            done = token.map[1]
        yield self.markdown("\n".join(lines[done:]))

    def directive(self, name: str, argument: str, content: str) -> Iterator[str | NotebookNode]:
        options, body = options_of(content)
        if name == "cell":
            cell = new_code_cell(body.strip("\n"))
            if "fold" in options:
                cell.metadata = dict(HIDDEN)
            yield cell
        elif name == "literalinclude":
            given = {key: None if key == "dedent" and not value else value for key, value in options.items()}
            file = (self.page.parent / argument).resolve()
            shown, _ = LiteralIncludeReader(str(file), given, Config()).read()
            yield f"\n```python\n# {file.relative_to(ROOT).as_posix()}\n{textwrap.dedent(shown).strip()}\n```\n"
        elif name == "raw":
            page = self.at_site(f"book/{self.page.stem}.html")
            yield f"\n*Here [the page of this chapter]({page}) has a figure that can be moved.*\n"
        elif name == "toctree":
            return
        else:  # a box: note, admonition, dropdown, ...
            yield f"\n---\n\n**{argument or name.capitalize()}**\n"
            yield from self.parts(body)
            yield "\n---\n"

    def markdown(self, text: str) -> str:
        text = re.sub(r"!\[([^\]]*)\]\(([^)\s]+)\)", self.picture, text)
        text = re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", self.link, text)
        return re.sub(r'<a href="(?:\.\./)*(_static/[^"]*)">(.*?)</a>', self.to_page, text, flags=re.S)

    def picture(self, found: re.Match[str]) -> str:
        file = (self.page.parent / found[2]).resolve()
        kind = mimetypes.guess_type(file.name)[0]
        return f"![{found[1]}](data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()})"

    def link(self, found: re.Match[str]) -> str:
        """A chapter's link leads to its notebook, that of another file to the repository, or to the file itself."""
        text, address = found[1], found[2].partition("#")[0]
        if found[2].startswith(("http", "data:", "#")):
            return found[0]
        file = (self.page.parent / address).resolve()
        if file.parent == BOOK:
            return f"[{text}]({file.stem}.ipynb)"
        path = file.relative_to(ROOT).as_posix()
        there = f"{self.repository.removesuffix('.git')}/blob/HEAD/{path}" if self.repository else None
        return f"[{text}]({there or os.path.relpath(file, self.folder)})"

    def to_page(self, found: re.Match[str]) -> str:
        return f"[{re.sub(r'<[^>]*>', '', found[2])}]({self.at_site(found[1])})"


def title_of(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def options_of(content: str) -> tuple[dict[str, str], str]:
    """The `:key: value` lines at the beginning of a directive, and the rest."""
    lines = content.splitlines()
    options = {}
    while lines and (found := re.fullmatch(r":([\w-]+):\s*(.*)", lines[0])):
        options[found[1]] = found[2]
        lines.pop(0)
    return options, "\n".join(lines)


def run(notebook: NotebookNode, folder: Path) -> None:
    """Runs all cells in a fresh kernel. Raises nbclient's CellExecutionError if one fails."""
    from nbclient import NotebookClient

    NotebookClient(
        notebook,
        timeout=600,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns that it speaks to this process without encryption
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran


def site_of(repository: str) -> str:
    """Where the pages of a repository on GitHub are."""
    found = re.match(r"https://github\.com/([^/]+)/([^/]+?)(?:\.git)?/?$", repository)
    return f"https://{found[1].lower()}.github.io/{found[2]}" if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a notebook of each chapter of the book.")
    parser.add_argument("folder", type=Path, help="where they are put")
    parser.add_argument("--run", action="store_true", help="run all cells, and keep what they print and draw")
    parser.add_argument("--repository", default="", help="the address that the first cell clones the project from")
    parser.add_argument("--site", default="", help="where the pages of the book are; known for a repository on GitHub")
    parser.add_argument(
        "--only", nargs="+", metavar="CHAPTER", default=[""], help="such as 07: the first letters of its name"
    )
    args = parser.parse_args()
    args.repository = args.repository.rstrip("/")
    pages = [page for page in sorted(BOOK.glob("*.md")) if page.name.startswith(tuple(args.only))]
    if not pages:
        parser.error(f"--only {' '.join(args.only)}: no chapter begins so; they are {BOOK}/NN-*.md")
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        start = time.perf_counter()
        made = Chapter(page, folder, args.repository, args.site or site_of(args.repository)).notebook()
        if args.run:
            run(made, folder)
        nbformat.validate(made)
        file = folder / f"{page.stem}.ipynb"
        nbformat.write(made, file)
        seconds = f", ran in {time.perf_counter() - start:.0f} s" if args.run else ""
        print(f"{file.name}: {len(made.cells)} cells{seconds}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
