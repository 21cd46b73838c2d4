"""What each part of a transformer buys: the numbers and the figure of docs/ladder.md.

    python docs/figures/ladder.py               draws ladder.svg from docs/runs/ladder/ladder.csv, and prints the tables
    python docs/figures/ladder.py runs/ladder   first writes ladder.csv anew: docs/ladder.md has the commands that train

The folder holds a sweep over train.seed for each row of RUNGS, named by its key. Options behind the folder say where
the data are, as in data.root=DIR. ladder.csv has a line for each run: what its metrics.csv ends with, and in `right` a
bit for each validation image, as a hexadecimal number: 1 if the parameters at the end classify it correctly.
"""

import csv
import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from svg import GREY, INK, PALE, Page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

TABLE = HERE.parent / "runs" / "ladder" / "ladder.csv"
RUNGS = {  # the name of a sweep -> what is trained
    "0": "no attention", "1": "+ attention, one head", "2": "+ many heads", "3": "+ residual", "4": "+ layer norm",
    "5": "\u2212 positions", "norm": "4 without residual", "head": "4 with one head", "2d": "4 with 2-D sinusoids",
}  # fmt: skip
LADDER = [name for name in RUNGS if name.isdigit()]
STEPS = [*pairwise(LADDER), ("2", "4"), ("norm", "4"), ("2", "norm"), ("head", "4"), ("5", "2d")]
COLUMNS = ("rung", "seed", "parameters", "learning_rate", "train_loss", "val_loss", "val_top1", "right")

WIDTH, TOP, ROW = 880, 66, 38
LEFT, RIGHT = 200, 690
DOT, MEAN = "#0b62a8", "#c8321e"


class Run(NamedTuple):
    parameters: int
    learning_rate: str
    train_loss: float
    val_loss: float
    top1: float  # percent
    right: np.ndarray  # (images,), 0 or 1


class Step(NamedTuple):
    """How many points of top-1 one setting has more than another, and how far chance may have moved that."""

    gain: float
    by_seeds: float  # standard error: other seeds, the same images
    by_images: float  # standard error: the same runs, other images; paired, as both see the same ones

    @property
    def error(self) -> float:
        return math.hypot(self.by_seeds, self.by_images)


def read() -> dict[str, list[Run]]:
    """The runs of each rung, in the order of their seeds."""
    found: dict[str, list[Run]] = {name: [] for name in RUNGS}
    with TABLE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            images = 4 * len(row["right"])
            bits = np.array([int(bit) for bit in f"{int(row['right'], 16):0{images}b}"])
            run = Run(
                int(row["parameters"]), row["learning_rate"], float(row["train_loss"]), float(row["val_loss"]),
                100 * float(row["val_top1"]), bits,
            )  # fmt: skip
            found[row["rung"]].append(run)
    return found


def deviation(runs: Mapping[str, list[Run]]) -> float:
    """The standard deviation of top-1 over seeds, pooled over all settings, in points."""
    squares = [sum((run.top1 - mean(of)) ** 2 for run in of) for of in runs.values()]
    return math.sqrt(sum(squares) / sum(len(of) - 1 for of in runs.values()))


def mean(runs: list[Run]) -> float:
    return sum(run.top1 for run in runs) / len(runs)


def step(runs: Mapping[str, list[Run]], before: str, after: str) -> Step:
    a, b = runs[before], runs[after]
    by_seeds = deviation(runs) * math.sqrt(1 / len(a) + 1 / len(b))
    # For each image, how much more often it is right. Its mean over the images is the gain, its scatter their chance.
    differences = np.mean([run.right for run in b], axis=0) - np.mean([run.right for run in a], axis=0)
    return Step(mean(b) - mean(a), by_seeds, 100 * float(differences.std(ddof=1)) / math.sqrt(len(differences)))


def draw() -> str:
    """The text of ladder.svg."""
    runs = read()
    low, high = 0, 10 * math.ceil(max(run.top1 for of in runs.values() for run in of) / 10)
    bottom = TOP + ROW * (len(RUNGS) - 0.4)
    page = Page(WIDTH, round(bottom + 52), "Top-1 of each rung of the ladder, a dot for each seed")

    def x(top1: float) -> float:
        return LEFT + (RIGHT - LEFT) * (top1 - low) / (high - low)

    page.text(16, 30, "Top-1 on 2,000 images held out: a dot for each seed, a bar at their mean", bold=True, size=14)
    for tick in range(low, high + 1, 10):
        page.line([(x(tick), TOP - 12), (x(tick), bottom)], PALE, 1)
        page.text(x(tick), bottom + 18, f"{tick}%", GREY, "middle")
    page.line([(x(5), TOP - 12), (x(5), bottom)], GREY, 1, "4 3")
    page.text(x(5), bottom + 36, "chance", GREY, "middle")
    for i, (name, what) in enumerate(RUNGS.items()):
        y = TOP + ROW * (i + 0.3)
        page.text(16, y + 4, name if name in LADDER else "", bold=True)
        page.text(34, y + 4, what, INK if name in LADDER else GREY)
        for run in runs[name]:
            page.dot(x(run.top1), y, DOT)
        middle = mean(runs[name])
        page.line([(x(middle), y - 10), (x(middle), y + 10)], MEAN, 2.2)
        page.text(RIGHT + 14, y + 4, f"{middle:.1f}%", bold=True)
        if name in LADDER[1:]:
            gained = step(runs, LADDER[i - 1], name)
            page.text(RIGHT + 66, y + 4, f"{signed(gained.gain)} \u00b1 {gained.error:.1f}", GREY)
    page.text(RIGHT + 14, TOP - 16, "mean", GREY)
    page.text(RIGHT + 66, TOP - 16, "step, its error", GREY)
    return page.source()


def signed(points: float) -> str:
    return f"{'+' if points >= 0 else chr(0x2212)}{abs(points):.1f}"


def label(name: str) -> str:
    return f"`ladder_{name}`" if name in LADDER else RUNGS[name].replace("4", "`ladder_4`")


def tables() -> str:
    """The two tables of docs/ladder.md."""
    runs = read()
    lines = ["| rung | parameters | learning rate | top-1, each seed, % | mean | training loss | validation loss |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in RUNGS:
        of = runs[name]
        seeds = ", ".join(f"{run.top1:.2f}" for run in of)
        losses = [sum(getattr(run, loss) for run in of) / len(of) for loss in ("train_loss", "val_loss")]
        lines.append(
            f"| {label(name)} | {of[0].parameters:,} | {of[0].learning_rate} | {seeds} | {mean(of):.1f} "
            f"| {losses[0]:.2f} | {losses[1]:.2f} |"
        )
    lines += [
        "",
        "| step | gained | standard error: seeds | images | both | gained / error |",
        "|---|---|---|---|---|---|",
    ]
    for before, after in STEPS:
        s = step(runs, before, after)
        lines.append(
            f"| {label(before)} \u2192 {label(after)} | {signed(s.gain)} | {s.by_seeds:.1f} | {s.by_images:.1f} "
            f"| {s.error:.1f} | {abs(s.gain) / s.error:.1f} |"
        )
    return "\n".join([*lines, "", f"standard deviation over seeds, pooled: {deviation(runs):.2f} points"])


def collect(folder: Path, overrides: list[str]) -> None:
    """Write ladder.csv from the sweeps in `folder`."""
    sys.path.insert(0, str(ROOT))
    import jax
    import jax.numpy as jnp

    from data.augment import normalize
    from model.layer import count_parameters
    from training import checkpoint
    from training.metrics import read_rows
    from training.run_folder import RunFolder
    from training.setup import load_dataset

    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in RUNGS:
            for path in sorted((folder / name).glob("seed=*")):
                run = RunFolder(path)
                config = run.read_config(overrides, ("data.root", "data.cache"))
                template = jax.eval_shape(config.model.init, jax.random.key(0))
                params, _ = checkpoint.restore(run.last, template, part="params")
                dataset = load_dataset(config)
                pixels = normalize(jnp.asarray(dataset.val.images), dataset.mean, dataset.std, jnp.float32)
                logits, _ = jax.jit(config.model.forward)(params, pixels)
                right = np.asarray(logits).argmax(axis=1) == dataset.val.labels
                last = read_rows(run.metrics_file)[-1]
                bits = "".join(map(str, right.astype(int)))
                count = count_parameters(template)
                writer.writerow([
                    name, config.train.seed, count, f"{config.optim.learning_rate:g}", f"{last.train_loss:.4f}",
                    f"{last.val_loss:.4f}", f"{right.mean():.4f}", f"{int(bits, 2):0{len(bits) // 4}x}",
                ])  # fmt: skip


def main(arguments: list[str]) -> None:
    if arguments:
        collect(Path(arguments[0]), arguments[1:])
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8", newline="\n")
    print(tables())


if __name__ == "__main__":
    main(sys.argv[1:])
