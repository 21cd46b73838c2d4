"""The results as a page of Markdown, which can go into the docs as it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.part import OK, Result

TITLES = {"check": "Gradient checks", "speed": "Speed", "train": "Training"}


def to_markdown(head: Mapping[str, str], results: Sequence[Result]) -> str:
    lines = ["# Measured on a GPU", "", "|  |  |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in head.items()]
    for stage, title in TITLES.items():
        chosen = [result for result in results if result.stage == stage]
        if chosen:
            lines += ["", f"## {title}", "", "| part | result | seconds |", "|---|---|---|"]
            lines += [f"| {r.name} | {_cell(_outcome(r))} | {r.seconds:.0f} |" for r in chosen]
        for result in chosen:
            if result.values:
                lines += ["", f"### {result.name}", "", f"`{_command(result)}`", "", *_tables(result.values)]
    return "\n".join(lines) + "\n"


def _outcome(result: Result) -> str:
    return result.status if result.status == OK or not result.why else f"{result.status}: {result.why}"


def _command(result: Result) -> str:
    return " ".join([*(f"{name}={value!r}" for name, value in result.environment.items()), result.command])


def _tables(values: Mapping[str, Any]) -> list[str]:
    """What is a number or a text in a table of two columns, what has values of its own in a line of a wider one."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    nested = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = []
    if plain:
        lines += ["|  |  |", "|---|---|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in plain.items())]
    if nested:
        columns = list(dict.fromkeys(column for row in nested.values() for column in row))
        lines += [""] if plain else []
        lines += [f"|  | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
        lines += [
            f"| {_cell(name)} | {' | '.join(_cell(row.get(column)) for column in columns)} |"
            for name, row in nested.items()
        ]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
