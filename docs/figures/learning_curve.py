"""The learning curve of the run on Tiny ImageNet: a figure of the README and of docs/experiments.md.

    python docs/figures/learning_curve.py

Reads docs/runs/tiny_imagenet_cpu/metrics.csv, as the run wrote it, and writes learning_curve.svg beside this file.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from svg import GREY, PALE, Page

HERE = Path(__file__).resolve().parent
METRICS = HERE.parent / "runs" / "tiny_imagenet_cpu" / "metrics.csv"
WIDTH, HEIGHT = 880, 300
TOP, BOTTOM = 58, 248
PANEL_WIDTH = 330
PLAIN, AVERAGE = "#8250df", "#0a7d6c"


class Axes:
    """A panel whose left edge is at `left`: evaluated `epochs` to the right, values from `low` to `high` upwards."""

    def __init__(self, page: Page, left: float, epochs: Sequence[int], low: float, high: float) -> None:
        self.page, self.left, self.epochs, self.low, self.high = page, left, epochs, low, high

    def x(self, epoch: float) -> float:
        return self.left + PANEL_WIDTH * epoch / self.epochs[-1]

    def y(self, value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)

    def frame(self, title: str, ticks: Sequence[float], unit: str = "") -> None:
        self.page.text(self.left, TOP - 22, title, bold=True, size=14)
        for tick in ticks:
            self.page.line([(self.left, self.y(tick)), (self.left + PANEL_WIDTH, self.y(tick))], PALE, 1)
            self.page.text(self.left - 8, self.y(tick) + 4, f"{tick:g}{unit}", GREY, "end")
        for epoch in range(0, self.epochs[-1] + 1, 5):
            self.page.text(self.x(epoch), BOTTOM + 18, str(epoch), GREY, "middle")
        self.page.text(self.left + PANEL_WIDTH / 2, BOTTOM + 36, "passes over the training images", GREY, "middle")

    def curve(self, values: Sequence[float], colour: str, dashes: str = "") -> None:
        points = [(self.x(epoch), self.y(value)) for epoch, value in zip(self.epochs, values, strict=True)]
        self.page.line(points, colour, 2.2, dashes)

    def label(self, epoch: float, value: float, words: str, colour: str, anchor: str = "start") -> None:
        self.page.text(self.x(epoch), self.y(value), words, colour, anchor)


def draw() -> str:
    """The text of learning_curve.svg."""
    with METRICS.open(newline="") as file:
        rows = list(csv.DictReader(file))

    def column(name: str, factor: float = 1) -> list[float]:
        return [factor * float(row[name]) for row in rows]

    epochs, average = [int(row["epoch"]) for row in rows], column("ema_top1", 100)
    page = Page(WIDTH, HEIGHT, "Loss and top-1 of the run on Tiny ImageNet, pass by pass")
    loss = Axes(page, 56, epochs, 1.0, 5.0)
    loss.frame("Loss", (1, 2, 3, 4, 5))
    loss.curve(column("train_loss"), GREY, "5 3")
    loss.curve(column("val_loss"), PLAIN)
    loss.curve(column("ema_loss"), AVERAGE)
    loss.label(14.5, 3.42, "training", GREY)
    loss.label(10.8, 2.74, "validation", PLAIN)
    loss.label(12.8, 1.8, "validation, moving average", AVERAGE, "end")
    top1 = Axes(page, 474, epochs, 0, 50)
    top1.frame("Top-1 on the 10,000 validation images", (0, 10, 20, 30, 40, 50), "%")
    top1.curve(column("val_top1", 100), PLAIN)
    top1.curve(average, AVERAGE)
    page.dot(top1.x(epochs[-1]), top1.y(average[-1]), AVERAGE)
    page.text(top1.x(epochs[-1]) + 9, top1.y(average[-1]) + 4, f"{average[-1]:.2f}%", AVERAGE, bold=True)
    top1.label(11.5, 35.5, "parameters as they are", PLAIN)
    top1.label(12.5, 46, "moving average", AVERAGE, "end")
    return page.source()


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8", newline="\n")
