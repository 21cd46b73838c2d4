"""The comparison of the runs of a sweep: a table of all, and one of means and standard deviations over the seeds."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from training.metrics import MetricsRow, accuracy_of_all

FINISHED = "finished"
SEED = "train.seed"


class Entry(NamedTuple):
    """A line of the table."""

    values: tuple[str, ...]  # of the swept options, as they were written
    state: str  # FINISHED, or another one in words
    rows: list[MetricsRow]  # of the run; the last one is compared
    name: str  # of the run's folder
    accuracy: str = "top-1"  # what its accuracy is called


class Column(NamedTuple):
    name: str  # in the metrics, and in the CSV file
    title: str
    format: str


PASSES = Column("passes", "passes", "{:.4g}")
STEPS = Column("step", "steps", "{:,}")
RESULTS = (
    Column("train_loss", "train loss", "{:.3f}"),
    Column("val_loss", "val loss", "{:.3f}"),
    Column("val_top1", "top-1", "{:.2%}"),
    Column("val_top5", "top-5", "{:.2%}"),
)
AVERAGES = (  # the same for the moving average of the parameters, where one is kept
    Column("ema_loss", "val loss, average", "{:.3f}"),
    Column("ema_top1", "top-1, average", "{:.2%}"),
)
SECONDS = Column("seconds", "seconds", "{:,.0f}")
TOP5 = RESULTS[3]
MEASURED = frozenset(column.name for column in RESULTS + AVERAGES)


def passes(rows: Sequence[MetricsRow]) -> list[float]:
    """Passes over the training images up to each row. The first one counts as whole passes, even if it ends the run."""
    return [row.step * rows[0].epoch / rows[0].step for row in rows]


def format_markdown(keys: Sequence[str], names: Sequence[str], entries: Sequence[Entry], top5: bool = True) -> str:
    """Both tables in Markdown. `names` are short names of the swept options `keys`; without `top5` it has no column."""
    columns = columns_of(entries, top5)
    lines = [[*entry.values, *formatted(columns, entry).values(), entry.state.replace("|", r"\|")] for entry in entries]
    text = _markdown([*names, *(column.title for column in columns), "state"], len(names), lines)
    means = means_over_seeds(keys, entries)
    if means:
        measured = [column for column in columns if column.name in MEASURED]
        others = without_seed(keys, names)
        titles = [*others, "seeds", *(column.title for column in measured)]
        text += "\nMean and standard deviation over the seeds that are finished:\n\n"
        rows = [[*values, str(len(group)), *mean_cells(group, measured).values()] for values, group in means]
        text += _markdown(titles, len(others), rows)
    return text


def format_csv(keys: Sequence[str], entries: Sequence[Entry]) -> str:
    """The table of the runs, with numbers formatted as in metrics.csv."""
    columns = columns_of(entries)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*keys, *(column.name for column in columns), "state", "folder"])
    for entry in entries:
        results = _results(entry)
        numbers = [_plain(results.get(column.name)) for column in columns]
        writer.writerow([*entry.values, *numbers, entry.state, entry.name])
    return file.getvalue()


def columns_of(entries: Sequence[Entry], top5: bool = True) -> list[Column]:
    """The columns that have values in these runs."""
    averaged = any(row.ema_top1 is not None for entry in entries for row in entry.rows)
    results = [column for column in RESULTS if top5 or column != TOP5]
    accuracy = accuracy_of_all(entry.accuracy for entry in entries if entry.rows) or "top-1"
    columns = [PASSES, STEPS, *results, *(AVERAGES if averaged else ()), SECONDS]
    return [column._replace(title=column.title.replace("top-1", accuracy)) for column in columns]


def _results(entry: Entry) -> dict[str, float | None]:
    """The last row by column; empty if there is none."""
    return entry.rows[-1]._asdict() | {PASSES.name: passes(entry.rows)[-1]} if entry.rows else {}


def means_over_seeds(keys: Sequence[str], entries: Sequence[Entry]) -> list[tuple[tuple[str, ...], list[Entry]]]:
    """The finished entries of each combination of the options other than the seed; [] if there is only one seed."""
    if SEED not in keys or len({entry.values[keys.index(SEED)] for entry in entries}) == 1:
        return []
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        others = tuple(value for key, value in zip(keys, entry.values, strict=True) if key != SEED)
        groups.setdefault(others, []).extend([entry] if entry.state == FINISHED else [])
    return list(groups.items())


def without_seed(keys: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names of the swept options other than the seed."""
    return [name for key, name in zip(keys, names, strict=True) if key != SEED]


def mean_cells(group: list[Entry], columns: list[Column]) -> dict[str, str]:
    """Mean and standard deviation of finished runs as text, by the name of the column."""
    cells = {}
    for column in columns:
        found = [_results(entry).get(column.name) for entry in group]
        numbers = [number for number in found if number is not None]
        cell = column.format.format(statistics.mean(numbers)) if numbers else ""
        if len(numbers) > 1:
            cell += f" ± {column.format.format(statistics.stdev(numbers))}"
        cells[column.name] = cell
    return cells


def formatted(columns: list[Column], entry: Entry) -> dict[str, str]:
    """The results of a run as text, by the name of the column."""
    results = _results(entry)
    found = [(column, results.get(column.name)) for column in columns]
    return {column.name: "" if number is None else column.format.format(number) for column, number in found}


def _plain(number: float | None) -> str:
    return "" if number is None else str(number) if isinstance(number, int) else f"{number:.6g}"


def _markdown(titles: list[str], left: int, lines: list[list[str]]) -> str:
    """A table with aligned columns: the first `left` and the state to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    is_number = [i >= left and title != "state" for i, title in enumerate(titles)]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, is_number, strict=True)]

    def padded(cells: list[str]) -> list[str]:
        aligned = zip(cells, widths, is_number, strict=True)
        return [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in aligned]

    return "".join(f"| {' | '.join(cells)} |\n" for cells in [padded(titles), rule, *map(padded, lines)])
