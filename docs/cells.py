"""A directive for Sphinx that runs its Python when the pages are built, and shows what it prints and draws.

    ```{cell}
    print(1 + 1)
    ```

The cells of a page share their names, pages share nothing. A cell that fails is an error of the build. With `:fold:`
the code is folded away and only what it shows is seen at once: for figures. `lab.show(figure)` puts a figure on the
page.
"""

import contextlib
import io
import traceback
from typing import Any, ClassVar

import lab
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

lab.settings()

names: dict[str, dict[str, Any]] = {}  # of each page: what its cells have defined so far


class Cell(SphinxDirective):
    has_content = True
    option_spec: ClassVar = {"fold": directives.flag}

    def run(self) -> list[nodes.Node]:
        source, printed = "\n".join(self.content), io.StringIO()
        page = names.setdefault(self.env.docname, {"__name__": "cell"})
        lab.shown.clear()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, f"{self.env.docname}, line {self.lineno}", "exec"), page)
        except Exception as error:
            raise self.error(f"this cell fails:\n{traceback.format_exc()}") from error
        code = nodes.literal_block(source, source, language="python")
        text = printed.getvalue().rstrip()
        found: list[nodes.Node] = [nodes.raw("", svg, format="html") for svg in lab.shown]
        if text:
            found.insert(0, nodes.literal_block(text, text, language="none", classes=["output"]))
        if "fold" not in self.options:
            return [code, *found]
        start = '<details class="code"><summary>how this is made</summary>'
        return [*found, nodes.raw("", start, format="html"), code, nodes.raw("", "</details>", format="html")]


def forget(app: Sphinx, env: Any, page: str) -> None:
    """A page that is read again begins with no names."""
    names.pop(page, None)
    env.note_dependency(lab.__file__, docname=page)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("cell", Cell)
    app.connect("env-purge-doc", forget)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
