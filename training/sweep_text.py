"""The comparison of the runs of a sweep for a terminal: the columns that fit. All of them are in table.md."""

import textwrap
from collections.abc import Sequence

from training.sweep_table import (
    MEASURED,
    Entry,
    columns_of,
    formatted,
    mean_cells,
    means_over_seeds,
    without_seed,
)

DISPENSABLE = ("step", "train_loss", "val_top5", "seconds", "ema_loss", "val_loss", "passes")
"""Columns that a narrow table leaves out, in this order."""
LEFT = ("state",)  # aligned to the left, as the swept values are

Cells = dict[str, str]  # of a line, by the name of the column


def format_text(
    keys: Sequence[str], names: Sequence[str], entries: Sequence[Entry], top5: bool = True, width: int = 80
) -> str:
    """A table of the runs, and one of means and standard deviations over the seeds, at most `width` columns wide.

    Where the swept values would take too much room, the runs are numbered, and a list above the table says what each
    number stands for. Why a run failed stands below the table.
    """
    columns = columns_of(entries, top5)
    titles = {column.name: column.title for column in columns}
    lines = [(entry.values, formatted(columns, entry) | {"state": _state(entry)[0]}) for entry in entries]
    text = _fit("run", names, lines, titles | {"state": "state"}, width)
    for entry in entries:
        state, why = _state(entry)
        if why:
            text += _wrapped(f"{state}: {_described(names, entry.values)}: {why}", width)
    means = means_over_seeds(keys, entries)
    if means:
        measured = [column for column in columns if column.name in MEASURED]
        lines = [(values, {"seeds": str(len(group))} | mean_cells(group, measured)) for values, group in means]
        titles = {"seeds": "seeds"} | {column.name: column.title for column in measured}
        text += "\nMean and standard deviation over the seeds that are finished:\n\n"
        text += _fit("setting", without_seed(keys, names), lines, titles, width)
    return text


def _state(entry: Entry) -> tuple[str, str]:
    """`failed` and why, or another state and nothing."""
    state, _, why = entry.state.partition(": ")
    return state, why


def _fit(what: str, names: Sequence[str], lines: list[tuple[tuple[str, ...], Cells]], titles: Cells, width: int) -> str:
    """The table of all columns, or else one with numbers in place of the values, or else one of fewer columns; `what`
    says what is numbered."""
    table = _table(list(names), [list(values) for values, _ in lines], [cells for _, cells in lines], titles)
    if _width(table) <= width:
        return table
    legend = "".join(
        _wrapped(f"{what} {number}: {_described(names, values)}", width) for number, (values, _) in enumerate(lines, 1)
    )
    numbers = [[str(number)] for number in range(1, len(lines) + 1)]
    for name in ("", *DISPENSABLE):
        titles = {column: title for column, title in titles.items() if column != name}
        table = _table([what], numbers, [cells for _, cells in lines], titles)
        if _width(table) <= width:
            break
    return f"{legend}\n{table}"


def _table(names: list[str], values: list[list[str]], cells: list[Cells], titles: Cells) -> str:
    rows = [[*left, *(line[column] for column in titles)] for left, line in zip(values, cells, strict=True)]
    heads = [*names, *titles.values()]
    is_left = [True] * len(names) + [column in LEFT for column in titles]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def aligned(row: list[str]) -> str:
        padded = zip(row, widths, is_left, strict=True)
        return "  ".join(cell.ljust(w) if left else cell.rjust(w) for cell, w, left in padded).rstrip() + "\n"

    return "".join(map(aligned, [heads, ["-" * w for w in widths], *rows]))


def _width(table: str) -> int:
    return max(map(len, table.splitlines()))


def _described(names: Sequence[str], values: Sequence[str]) -> str:
    return " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False) + "\n"
