"""The report of a run as one page of HTML."""

import numpy as np

from common.page import escape, page
from training.report import about, confusions, looks, results
from training.report.charts import CELL, COUNTED
from training.report.material import Material
from training.report.style import SORTING, STYLE, cells_script

SECTIONS = (
    ("curves", "Curves", results.learning_curves),
    ("confusions", "Confusions", confusions.confusions),
    ("classes", "Classes", confusions.classes),
    ("mistakes", "Mistakes", results.mistakes),
    ("confidence", "Confidence", results.confidence),
    ("attention", "Attention", looks.attention),
    ("embeddings", "Embeddings", looks.embeddings),
    ("positions", "Positions", looks.positions),
    ("filters", "Filters", looks.filters),
    ("options", "Options", about.options),
    ("origin", "Machine", about.origin),
)
"""The parts of the page in order: the anchor of each, its name in the contents, and the function that writes it."""


def as_html(material: Material) -> str:
    """The whole page. What does not apply to the model or the data is left out, with the reason.

    material: its result must be one in detail.
    """
    trained = material.trained
    name = trained.run.path.resolve().name
    contents = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in SECTIONS)
    head = [
        f"<header><h1>{escape(name)}: {material.figures['top1']:.2%} top-1 on {escape(material.described)}</h1>",
        f'<p class="about">{escape(trained.description)} on {escape(material.device)}</p>',
        results.key_figures(material),
        f'<nav aria-label="Contents">{contents}</nav></header><main>',
    ]
    script = SORTING
    if len(material.names) > COUNTED:
        ordered = material.confusion[np.ix_(material.order, material.order)]
        script += cells_script(ordered, [material.names[c] for c in material.order], CELL)
    return page(
        f"{name}: report of a run", [*head, *(write(material) for *_, write in SECTIONS), "</main>"], STYLE, script
    )
