"""The runs in a folder: data, model, best and last accuracy, date, and which is best.

    python -m training.runs               those in runs/, sweeps with each of their runs
    python -m training.runs runs/SWEEP    the runs of a sweep

The accuracy is top-1 on the validation images, of the moving average where one is kept. Runs are comparable where they
are evaluated on the same images, so there is a best one for each data set. A run without labels has the accuracy of a
linear probe, and is compared with such runs alone. A damaged run is named and left out.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import NamedTuple

import jax

from common.command import one_line, run_command
from common.errors import UserError
from common.files import PARTIAL
from common.paths import named_path
from common.streams import printable
from common.text import columns, counted, in_columns
from model.layer import count_parameters
from model.mae import MAE
from model.vit import ViT
from training.chosen_run import accuracy, best_row
from training.metrics import MetricsRow
from training.run_folder import HOW_TO_TRAIN, RUNS, RunFolder
from training.sweep import is_sweep

WIDTH = 80  # columns of the table
MOST_DATA = 16  # columns of the name of a data set
TITLES = ("run", "data", "parameters", "best", "last", "date")


class Entry(NamedTuple):
    """A run that could be read."""

    run: RunFolder
    sweep: Path | None  # the folder of the sweep that it belongs to
    data: str  # the name of the data set
    images: tuple[object, ...]  # what tells which images it is evaluated on
    described: str  # these in words
    parameters: int
    best: MetricsRow | None  # None: not evaluated yet
    last: MetricsRow | None
    written: float  # seconds since the epoch
    has_checkpoint: bool


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.runs", description="List runs, and say which is best.")
    parser.add_argument(
        "folder", nargs="?", type=named_path, default=RUNS, help="with runs in it, or of a sweep (default: runs)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    folder: Path = parser.parse_args(argv).folder
    entries, damaged = read_runs(folder)
    if entries:
        print("\n".join([*table(entries), "", *best_lines(entries)]))
    elif not damaged:
        raise UserError(f"{folder.absolute()}: no run in it; {HOW_TO_TRAIN}")
    for run, why in damaged:
        print(f"{printable(str(run))}: left out: {why}", file=sys.stderr)
    return 0


def read_runs(folder: Path) -> tuple[list[Entry], list[tuple[Path, str]]]:
    """The runs in a folder, the oldest first, those of a sweep together; and the damaged ones, with what is wrong.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        problem = "a file, where a folder of runs is expected" if folder.exists() else "there is no such folder"
        raise UserError(f"{folder.absolute()}: {problem}; {HOW_TO_TRAIN}")
    entries, damaged = [], []
    for path, sweep in run_folders(folder):
        try:
            entries.append(read_run(RunFolder(path), sweep))
        except (UserError, OSError) as error:
            damaged.append((path, one_line(error)))
    newest = {entry.sweep: max(e.written for e in entries if e.sweep == entry.sweep) for entry in entries}
    entries.sort(key=lambda e: (e.written if e.sweep is None else newest[e.sweep], str(e.sweep or ""), e.written))
    return entries, damaged


def run_folders(folder: Path) -> Iterator[tuple[Path, Path | None]]:
    """The folders of runs with the sweep that each belongs to: this one, those in it, and those of sweeps in it."""
    if RunFolder(folder).config_file.is_file():
        yield folder, None
    for path in sorted(folder.iterdir()):
        if PARTIAL in path.name or not path.is_dir():
            continue
        if is_sweep(path):
            yield from ((run, path) for run in sorted(path.iterdir()) if RunFolder(run).config_file.is_file())
        elif RunFolder(path).config_file.is_file():
            yield path, folder if is_sweep(folder) else None


def read_run(run: RunFolder, sweep: Path | None) -> Entry:
    """What there is to say of a run, of the sweep `sweep` if it belongs to one. Raises UserError or OSError if it is
    damaged."""
    config, rows = run.read_config(), run.read_metrics()
    fingerprint = run.read_classes().fingerprint if rows or run.classes_file.exists() else ""
    data = config.data
    name = data.folder.name if data.name == "image_folder" else data.name
    parts = [name]
    parts += [f"the first {data.classes} classes"] if data.classes else []
    parts += [f"{100 * data.holdout:g}% of the training images held out"] if data.holdout else []
    parts += [f"images of {data.val_folder}"] if data.val_folder else []
    parts += ["learned without labels"] if config.autoencoder else []
    return Entry(
        run=run,
        sweep=sweep,
        data=name,
        images=(fingerprint, data.name, data.classes, data.holdout or 0.0, data.val_folder, bool(config.autoencoder)),
        described=", ".join(parts),
        parameters=_parameters(config.network),
        best=best_row(rows),
        last=next((row for row in reversed(rows) if accuracy(row) is not None), None),
        written=_written(run),
        has_checkpoint=run.best.is_file() or run.last.is_file(),
    )


@cache
def _parameters(model: ViT | MAE) -> int:
    return count_parameters(jax.eval_shape(model.init, jax.random.key(0)))


def _written(run: RunFolder) -> float:
    """When the run was last written to."""
    files = (run.config_file, run.metrics_file, run.last, run.best)
    return max(file.stat().st_mtime for file in files if file.exists())


def best_of_each(entries: Sequence[Entry]) -> list[Entry]:
    """For each set of images the run with the highest accuracy, the first of equal ones; it must have a checkpoint."""
    best: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        if entry.best is not None and entry.has_checkpoint:
            so_far = best.setdefault(entry.images, entry)
            if _accuracy(entry) > _accuracy(so_far):
                best[entry.images] = entry
    return list(best.values())


def _accuracy(entry: Entry) -> float:
    return (accuracy(entry.best) if entry.best else None) or 0.0


def table(entries: Sequence[Entry]) -> list[str]:
    """The runs in lines of at most WIDTH columns. A name that is longer than its column has a line of its own."""
    best = {entry.run for entry in best_of_each(entries)}
    rows = [(_name(entry, entry.run in best), _cells(entry)) for entry in entries]
    widths = [max(map(columns, column)) for column in zip(TITLES[1:], *(cells for _, cells in rows), strict=True)]
    most = WIDTH - sum(widths) - 2 * len(widths)
    width = min(max(columns(name) for name, _ in [(f"  {TITLES[0]}", ()), *rows]), most)
    head = _line(f"  {TITLES[0]}", TITLES[1:], width, widths)
    lines, sweep = [head, "-" * len(head)], None
    for entry, (name, cells) in zip(entries, rows, strict=True):
        if entry.sweep not in (None, sweep):
            lines.append(f"  {printable(str(entry.sweep))}")
        sweep = entry.sweep
        if columns(name) > width:
            lines.append(name)
            name = ""
        lines.append(_line(name, cells, width, widths))
    return lines


def _name(entry: Entry, is_best: bool) -> str:
    mark = "* " if is_best else "  "
    return f"{mark}  {printable(entry.run.path.name)}" if entry.sweep else f"{mark}{printable(str(entry.run.path))}"


def _cells(entry: Entry) -> tuple[str, ...]:
    shown = [accuracy(row) if row else None for row in (entry.best, entry.last)]
    return (
        in_columns(printable(entry.data), MOST_DATA).rstrip(),
        f"{entry.parameters:,}",
        *("-" if value is None else f"{value:.2%}" for value in shown),
        time.strftime("%Y-%m-%d", time.localtime(entry.written)),
    )


def _line(name: str, cells: Sequence[str], width: int, widths: Sequence[int]) -> str:
    data, *numbers = (
        in_columns(cell, size) if i == 0 else cell.rjust(size)
        for i, (cell, size) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([in_columns(name, width), data, *numbers])


def best_lines(entries: Sequence[Entry]) -> list[str]:
    """Which run is best, for each set of images."""
    lines = []
    for entry in best_of_each(entries):
        assert entry.best is not None
        said = f"* best on {printable(entry.described)}: {_accuracy(entry):.2%} in epoch {entry.best.epoch}:"
        lines += [
            *wrap(said, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False),
            f"  {_use(entry)}{quote(printable(str(entry.run.path)))}",
        ]
    without = [entry.run.path for entry in entries if not entry.has_checkpoint]
    if without:
        lines.append(f"{counted(len(without), 'run')} without a checkpoint, such as {printable(str(without[0]))}")
    return lines or ["no run has been evaluated yet"]


def _use(entry: Entry) -> str:
    """The beginning of a command that takes the run."""
    *_, without_labels = entry.images
    return "python -m training.preview --out FILE.png " if without_labels else "python predict.py IMAGE --run "


if __name__ == "__main__":
    sys.exit(run_command(main))
