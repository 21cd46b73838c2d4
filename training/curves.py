"""Learning curves of one or more runs as a picture.

    python -m training.curves runs/demo-20260101-120000 --out curves.png
    python -m training.curves runs/sweep-demo-20260101-120000 --out curves.svg       all runs of a sweep

Losses on the left, accuracy on the right, over the passes through the training images; read from metrics.csv. Needs
matplotlib: pip install -r requirements-plots.txt
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.command import run_command
from common.errors import UserError
from common.files import replacing
from common.paths import named_path, require_writable
from common.streams import printable
from common.text import counted
from training.metrics import MetricsRow, accuracy_of_all
from training.run_folder import RunFolder
from training.sweep import Sweep, is_sweep
from training.sweep_table import passes

FORMATS = (".png", ".svg", ".pdf")
# The palette of Okabe and Ito, which colour-blind readers can tell apart, without its yellow, which is too light.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = ("", "o", "s", "^")  # the next one when the colours are used up
POINT = "D"  # in place of the first one where a curve has a single point: a line of one point is invisible

Style = dict[str, Any]  # of a matplotlib line
# A single point has no line: then the filling of the marker tells the kinds apart.
TRAINING: Style = {"linestyle": "--", "linewidth": 1, "fillstyle": "none"}
VALIDATION: Style = {"linestyle": "-", "linewidth": 1.8, "fillstyle": "full"}
AVERAGE: Style = {"linestyle": ":", "linewidth": 1.8, "fillstyle": "bottom"}


class Curve(NamedTuple):
    label: str
    rows: list[MetricsRow]
    accuracy: str = "top-1"  # what its accuracy is called


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    check_file(args.out)
    curves = read_curves(args.runs)
    figure = draw(curves)
    with replacing(args.out) as file:
        figure.savefig(file, format=args.out.suffix[1:].lower(), dpi=150)
    print(f"{args.out}: {counted(len(curves), 'run')}")
    return 0


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.curves", description="Draw learning curves.")
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", type=named_path, help="a run's folder, or a sweep's: all its runs"
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", type=named_path, help=f"the picture: {', '.join(FORMATS)}"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_intermixed_args(argv)


def check_file(path: Path) -> None:
    """Raises UserError if no picture can be written to `path`."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--out {path}: the end of its name says the format: choose from {', '.join(FORMATS)}")
    require_writable("--out", path)


def read_curves(paths: Sequence[Path]) -> list[Curve]:
    """The metrics of each run, labelled by the name of its folder, or by its path if two have the same name.

    Runs of a sweep without metrics are left out.

    Raises:
        UserError: there is no such run, no metrics yet, damaged metrics, or more runs than can be told apart.
    """
    runs = [run for path in paths for run in runs_in(path)]
    if len(runs) > len(COLOURS) * len(MARKERS):
        raise UserError(f"{len(runs)} runs: at most {len(COLOURS) * len(MARKERS)} can be told apart; name fewer")
    names = [run.path.resolve().name for run in runs]
    labels = [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]
    return [
        Curve(label, run.read_metrics(), run.read_config().accuracy) for label, run in zip(labels, runs, strict=True)
    ]


def runs_in(path: Path) -> list[RunFolder]:
    """The run in this folder, or the runs of the sweep."""
    runs = Sweep.open(path).runs() if is_sweep(path) else [RunFolder.open(path)]
    evaluated = [run for run in runs if run.read_metrics()]
    if not evaluated:
        raise UserError(f"{path}: there is nothing to draw, as the run has not been evaluated yet")
    return evaluated


def draw(curves: Sequence[Curve]) -> Any:
    """A matplotlib Figure: losses on the left, accuracies on the right.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise UserError("matplotlib is not installed: pip install -r requirements-plots.txt") from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    keys = []
    for index, (label, rows, _) in enumerate(curves):
        marker, colour = divmod(index, len(COLOURS))
        style: Style = {"color": COLOURS[colour], "marker": MARKERS[marker], "markersize": 4}
        if len(rows) == 1:
            style |= {"marker": MARKERS[marker] or POINT, "markersize": 7}
        _plot(left, rows, "train_loss", style | TRAINING)
        _plot(left, rows, "val_loss", style | VALIDATION)
        _plot(right, rows, "val_top1", style | VALIDATION, scale=100)
        _plot(right, rows, "ema_top1", style | AVERAGE, scale=100)
        keys.append(Line2D([], [], label=_shown(label), **style))
    kinds = [("training", TRAINING), ("validation", VALIDATION)]
    if any(row.ema_top1 is not None for curve in curves for row in curve.rows):
        kinds.append(("validation, moving average", AVERAGE))
    points: Style = {"marker": POINT} if any(len(curve.rows) == 1 for curve in curves) else {}
    left.legend(handles=[Line2D([], [], color="grey", label=label, **style, **points) for label, style in kinds])
    accuracy = accuracy_of_all(curve.accuracy for curve in curves)
    for axes, what in ((left, "loss (nats)"), (right, f"{accuracy} on validation (%)")):
        axes.set(xlabel="passes over the training images", ylabel=what)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if all(len(curve.rows) == 1 for curve in curves):
            axes.set_xlim(0, 2)  # and not from 0.95 to 1.05
        axes.grid(color="0.9")
    legend = figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 3), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in the name of a run is a $
    return figure


def _shown(label: str) -> str:
    """The name of a run, as the legend shows it. Matplotlib leaves out what begins with an underscore."""
    label = printable(label)
    return f" {label}" if label.startswith("_") else label


def _plot(axes: Any, rows: list[MetricsRow], column: str, style: Style, scale: float = 1) -> None:
    """Plot one column of the metrics, where it has values."""
    points = [
        (x, scale * value)
        for x, row in zip(passes(rows), rows, strict=True)
        if (value := row._asdict()[column]) is not None
    ]
    if points:
        axes.plot(*zip(*points, strict=True), **style)


if __name__ == "__main__":
    sys.exit(run_command(main))
