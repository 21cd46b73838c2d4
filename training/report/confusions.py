"""The sections on classes: what is taken for what, and which classes are easy or hard."""

from collections.abc import Sequence

import numpy as np

from common.page import escape
from common.text import counted
from training.report.charts import COUNTED, matrix
from training.report.material import Material, details, left_out, note, percent, section, table

PAIRS, MORE_PAIRS = 15, 200
SHOWN = 12  # best classes, and worst ones


def confusions(material: Material) -> str:
    confusion, names = material.confusion, material.names
    anchor, title = "confusions", "What is taken for what"
    if len(names) < 2:
        return section(anchor, title, left_out("there is one class alone"))
    order = material.order
    large = len(names) > COUNTED
    said = (
        "Each row is a class, and shows what its images were taken for; the columns are in the same order. Blue on the "
        "diagonal is right, orange beside it wrong; the stronger, the larger the share of the images of the class. "
        "Classes that are taken for each other stand next to each other, so that families appear as blocks. "
    )
    said += "Point at a cell, or tap it: the line above says what it is." if large else ""
    drawn = matrix(confusion[np.ix_(order, order)], [names[c] for c in order])
    if large:
        drawn = (
            '<div class="zoomable"><input type="checkbox" id="zoom"/><label for="zoom"> large, with names</label>'
            '<p class="readout" id="readout" aria-live="polite"></p>'
            f'<div class="map" style="--classes:{len(names)}">{drawn}</div></div>'
        )
    else:
        drawn = f'<div class="map">{drawn}</div>'
    return section(anchor, title, note(said), drawn, _pairs(material))


def _pairs(material: Material) -> str:
    """The most frequent mistakes in words."""
    confusion, names = material.confusion, material.names
    mistakes = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[: min(MORE_PAIRS, np.count_nonzero(mistakes))]
    if not len(order):
        return "<p>Nothing was taken for anything else.</p>"
    images = confusion.sum(axis=1)
    rows, most = [], mistakes.max()
    for label, guess in (divmod(int(flat), len(names)) for flat in order):
        count = mistakes[label, guess]
        rows.append([
            escape(names[label]), escape(names[guess]), _bar(count / most, "wrong", f"{count:,}"),
            percent(count / images[label]), f"{mistakes[guess, label]:,}",
        ])  # fmt: skip
    titles = ("label", "taken for", "images", "share", "reversed")
    first = table(titles, rows[:PAIRS], (3, 4), "bars")
    rest = details(counted(len(rows) - PAIRS, "more pair"), table(titles, rows[PAIRS:], (3, 4), "bars"))
    said = note(
        "How many images of the label were taken for the other class, and which share of the label these are. "
        "<em>Reversed</em>: how many of the other class were taken for the label."
    )
    return f"<h3>Most confused pairs</h3>\n{said}{first}{rest if len(rows) > PAIRS else ''}"


def classes(material: Material) -> str:
    """Bars of the best and the worst classes, and a table of all."""
    confusion, names = material.confusion, material.names
    images, taken, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    present = np.flatnonzero(images)
    recall = right / np.maximum(images, 1)
    ranked = present[np.argsort(-recall[present], kind="stable")]
    said = (
        "For each class the share of its images that is right (recall). A hard class either looks like another one, "
        "which the table of all classes names, or its images have little in common."
    )
    if len(ranked) <= 2 * SHOWN:
        bars = _bars("Classes, the best first", ranked, recall, names)
    else:
        best = _bars("Best classes", ranked[:SHOWN], recall, names)
        worst = _bars("Worst classes", ranked[::-1][:SHOWN], recall, names)
        bars = f'<div class="pair"><div>{best}</div><div>{worst}</div></div>'
    rows = []
    for c in range(len(names)):
        mistakes = confusion[c].copy()
        mistakes[c] = 0
        most = int(mistakes.argmax())
        rows.append([
            escape(names[c]), escape(material.trained.classes.class_ids[c]), f"{images[c]:,}",
            percent(recall[c]) if images[c] else "", percent(right[c] / taken[c]) if taken[c] else "",
            f"{escape(names[most])} ({mistakes[most]:,})" if mistakes[most] else "",
        ])  # fmt: skip
    titles = ("class", "id", "images", "recall", "precision", "most often taken for")
    everything = table(titles, rows, (2, 3, 4), "sortable")
    hint = note(
        "Recall: of the images of the class, the share that is right. Precision: of the images that were taken for the "
        "class, the share that is of it. The title of a column sorts by it."
    )
    return section("classes", "Easy and hard classes", note(said), bars, details("All classes", hint, everything))


def _bars(title: str, chosen: np.ndarray, recall: np.ndarray, names: Sequence[str]) -> str:
    rows = [[escape(names[c]), _bar(recall[c], "right", percent(recall[c]))] for c in chosen]
    return f"<h3>{title}</h3>\n{table(('class', 'recall'), rows, (), 'bars')}"


def _bar(share: float, kind: str, text: str) -> str:
    bar = f'<span class="bar {kind}"><span style="width:{100 * share:.1f}%"></span></span>'
    return f'<span class="together">{bar} {text}</span>'
