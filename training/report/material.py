"""What a report is made of, and the pieces of HTML that its sections share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from common.page import escape
from data.dataset import Split
from training.classes import short_class_names
from training.evaluation import Evaluation
from training.report.analysis import confusion_matrix, similar_together
from training.trained import Trained


@dataclass(frozen=True, eq=False)
class Material:
    """A run and its evaluation in detail."""

    trained: Trained
    result: Evaluation
    figures: Mapping[str, Any]  # the report of `--json`
    split: Split  # the images that it was evaluated on
    described: str  # these in words
    device: str  # where it was evaluated, in words
    seconds: float  # of the evaluation

    @cached_property
    def names(self) -> list[str]:
        """The short names of the classes."""
        return short_class_names(self.trained.classes)

    @cached_property
    def confusion(self) -> np.ndarray:
        """int (C, C): label down, prediction across."""
        return confusion_matrix(self.result.labels, self.result.predicted, len(self.names))

    @cached_property
    def order(self) -> np.ndarray:
        """int (C,): the classes with those that are taken for each other as neighbours."""
        return similar_together(self.confusion)

    @property
    def probabilities(self) -> np.ndarray:
        """float32 (n,), of the first guess."""
        assert self.result.probabilities is not None
        return self.result.probabilities

    @property
    def features(self) -> np.ndarray:
        """float32 (n, D), the pooled tokens."""
        assert self.result.features is not None
        return self.result.features

    @property
    def right(self) -> np.ndarray:
        """bool (n,)."""
        return np.asarray(self.result.predicted == self.result.labels)

    def image(self, index: int) -> np.ndarray:
        """uint8 (H, W, 1 or 3), as the model sees it."""
        return np.asarray(self.split.images[index : index + 1])[0]


NO_NUMBERS = "the probabilities are no numbers, as of a run that diverged"


def section(anchor: str, title: str, *parts: str) -> str:
    body = "\n".join(part for part in parts if part)
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{body}\n</section>'


def note(text: str) -> str:
    """A paragraph that says what one sees; `text` is HTML."""
    return f'<p class="note">{text}</p>'


def left_out(why: str) -> str:
    """In place of a figure: why it is not there."""
    return f'<p class="left-out">Left out: {escape(why)}.</p>'


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), kind: str = "") -> str:
    """A table of cells in HTML. `numbers` are the columns that are aligned to the right."""
    align = [' class="n"' if column in numbers else "" for column in range(len(titles))]
    head = "".join(f'<th scope="col"{a}>{escape(title)}</th>' for title, a in zip(titles, align, strict=True))
    body = "\n".join(
        f"<tr>{''.join(f'<td{a}>{cell}</td>' for cell, a in zip(row, align, strict=True))}</tr>" for row in rows
    )
    opening = f'<table class="{kind}">' if kind else "<table>"
    return f'<div class="scroll">{opening}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def details(summary: str, *parts: str) -> str:
    """What is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{''.join(parts)}</details>"


def picture(source: str, alt: str, caption: str, kind: str = "") -> str:
    """A picture with a caption in HTML; `source` is a data URI."""
    return (
        f'<figure class="{kind}"><img src="{source}" alt="{escape(alt)}"/><figcaption>{caption}</figcaption></figure>'
    )


def percent(share: float) -> str:
    return f"{share:.1%}"
