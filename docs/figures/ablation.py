"""What each ingredient buys: the figure of docs/experiments.md.

    pip install -r requirements-plots.txt
    python docs/figures/ablation.py

Reads docs/runs/tiny_imagenet_20/ablation.csv, the table.csv of a sweep over changes and seeds, and writes ablation.png
beside this file: of each change and seed how many points of top-1 it ends above or below the unchanged preset with
the same seed.
"""

import csv
import textwrap
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "runs" / "tiny_imagenet_20" / "ablation.csv"
WEIGHTS = {  # column of the table: in the legend, colour, marker, how far above its line
    "ema_top1": ("moving average", "#1f83c4", "o", 0.12),
    "val_top1": ("parameters as they are", "#d55e00", "x", -0.12),
}


def differences(path: Path, column: str) -> dict[str, list[float]]:
    """Points of top-1 that each change gains over none, a number for each seed."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "finished"]
    found = {(row["change"], row["train.seed"]): 100 * float(row[column]) for row in rows}
    gained = defaultdict(list)
    for (change, seed), points in found.items():
        if change != "none":
            gained[change].append(points - found["none", seed])
    return gained


def label(change: str) -> str:
    """The options of a change without their sections."""
    return " ".join(option.partition(".")[2] for option in change.split())


def main() -> None:
    gains = {column: differences(TABLE, column) for column in WEIGHTS}
    order = sorted(gains["ema_top1"], key=lambda change: sum(gains["ema_top1"][change]))
    figure = Figure(figsize=(9, 0.36 * len(order) + 1.1), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="grey", linewidth=1)
    for column, (name, colour, marker, shift) in WEIGHTS.items():
        points = [(gain, i + shift) for i, change in enumerate(order) for gain in gains[column][change]]
        axes.scatter(*zip(*points, strict=True), label=name, color=colour, marker=marker, s=28)
    axes.set_yticks(range(len(order)), [textwrap.fill(label(change), 50) for change in order])
    axes.set_xlabel("points of top-1 gained over the preset, a mark for each seed")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right")
    figure.savefig(HERE / "ablation.png", dpi=110)


if __name__ == "__main__":
    main()
