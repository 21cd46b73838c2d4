"""Where a line is not broken: between a formula and the comma behind it or the bracket before it, and within 1e-9.

Browsers break lines on either side of a formula, as if it were a picture, and behind a hyphen. What stands between two
formulas without a space is held to the first alone.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

NUMBER = re.compile(r"(\S*\de-\d\S*)")
AS_WRITTEN = (nodes.FixedTextElement, nodes.literal, nodes.math, nodes.raw, nodes.reference)


def hold_numbers(tree: nodes.document) -> None:
    for text in list(tree.findall(nodes.Text)):
        if not isinstance(text.parent, AS_WRITTEN) and NUMBER.search(text):  # a figure is long, and not searched
            parts: list[nodes.Node] = [nodes.Text(part) for part in NUMBER.split(text)]
            parts[1::2] = [held(number) for number in parts[1::2]]
            text.parent.replace(text, parts)


def hold_formulas(tree: nodes.document) -> None:
    for formula in list(tree.findall(nodes.math)):
        line, place = formula.parent, formula.parent.index(formula)
        row: list[nodes.Node] = [formula]
        if place + 1 < len(line) and isinstance(line[place + 1], nodes.Text):
            comma, rest = re.fullmatch(r"(\S*)(.*)", line[place + 1], re.S).groups()
            row, line[place + 1] = [*row, nodes.Text(comma)], nodes.Text(rest)
        if place and isinstance(line[place - 1], nodes.Text):
            rest, bracket = re.fullmatch(r"(.*?)(\S*)", line[place - 1], re.S).groups()
            row, line[place - 1] = [nodes.Text(bracket), *row], nodes.Text(rest)
        line[place] = held(*row)


def held(*parts: nodes.Node) -> nodes.inline:
    return nodes.inline("", "", *parts, classes=["held"])


def hold(app: Sphinx, tree: nodes.document, page: str) -> None:
    hold_numbers(tree)
    hold_formulas(tree)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", hold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
