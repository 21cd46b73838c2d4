"""From the files and the output of a part to what was measured. A reader raises whatever it likes on a damaged file."""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.contestants.operations import step_operations
from benchmarks.contestants.problem import Problem
from benchmarks.contestants.report import speed
from benchmarks.contestants.workers import Outcome
from benchmarks.gpu.part import Values
from training.metrics import MetricsRow, read_rows

RESULT = "result.json"
WORST = 5  # tensors of the table of precisions
TARGETS = (0.2184, 0.5707, 0.63)  # top-1: the plain published run, the published strong recipe, and what is hoped for


def step(folder: Path, stdout: str) -> Values:
    """Of `benchmarks.step --json`: a line per contestant, and the share of the card's measured rate that it reaches."""
    document = json.loads((folder / RESULT).read_text())
    problem = Problem.from_json(document["problem"])
    outcomes = [Outcome(**outcome) for outcome in document["outcomes"]]
    rate = speed(outcomes, problem.dtype)
    values: Values = {"largest measured rate of products, TFLOP/s": rate / 1e12} if rate else {}
    for outcome in outcomes:
        if outcome.steps:
            values[outcome.name] = _contestant(problem, outcome, rate)
        elif outcome.note is not None:
            values[outcome.name] = {"note": outcome.note}
    return values


def _contestant(problem: Problem, outcome: Outcome, rate: float | None) -> dict[str, Any]:
    median = statistics.median(outcome.steps)
    peak = outcome.device_peak_bytes if problem.device == "gpu" else outcome.peak_bytes
    return {
        "ms a step": 1e3 * median,
        "slowest ms": 1e3 * max(outcome.steps),
        "images/s": problem.batch / median,
        "share of the rate": step_operations(problem) / median / rate if rate else None,
        "peak MiB": peak / 2**20 if peak else None,
        "compile s": outcome.compile_seconds,
        "note": outcome.note,
    }


def gradcheck(folder: Path, stdout: str) -> Values:
    """Of `gradcheck.py --json`: verdict and summary, the rate of an exhaustive check, the table of precisions."""
    document = json.loads((folder / RESULT).read_text())
    values: Values = {"verdict": document["verdict"], "summary": document["summary"], "seconds": document["seconds"]}
    coverage = document.get("coverage")
    if coverage:
        rate = coverage["done"] / document["seconds"]
        values |= {
            "coordinates": coverage["coordinates"],
            "checked": coverage["done"],
            "coordinates/s, the start included": rate,
            "hours for all at this rate": coverage["coordinates"] / rate / 3600 if rate else None,
        }
    rows = document["precision"]
    for row in [*rows[-1:], *sorted(rows[:-1], key=_worst, reverse=True)[:WORST]]:  # the last is that of all parameters
        values[row["name"]] = {f"relative error, {kind}": error for kind, error in row["errors"].items()}
    return values


def _worst(row: dict[str, Any]) -> float:
    return max((error for error in row["errors"].values() if error is not None), default=0.0)


def last_line(folder: Path, stdout: str) -> Values:
    """Of a part that prints its result as one line of JSON, the last."""
    values = json.loads(stdout.strip().splitlines()[-1])
    if not isinstance(values, dict):
        raise ValueError("its last line is no JSON object")
    return values


def printed(folder: Path, stdout: str) -> Values:
    """Of a command that prints a table for people: its lines that are not empty, the last forty."""
    lines = [line.rstrip() for line in stdout.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it printed nothing")
    return {f"line {number}": line for number, line in enumerate(lines[-40:], start=1)}


def training(folder: Path, stdout: str) -> Values:
    """Of a run in the part's folder: where it ended, and when it passed each target."""
    rows = read_rows(folder / "run" / "metrics.csv")
    last = rows[-1]
    values: Values = {
        "steps": last.step,
        "passes": last.epoch,
        "seconds of training and evaluation": last.seconds,
        "images/s in the last epoch": last.images_per_second,
        "share of time waiting for data": last.data_wait,
        "top-1 at the end": _top1(last),
        "top-1 at its best": max(map(_top1, rows)),
        "validation loss at the end": last.ema_loss if last.ema_loss is not None else last.val_loss,
    }
    for target in TARGETS:
        passed = next((row.seconds for row in rows if _top1(row) >= target), None)
        values[f"seconds to {target:.2%}"] = passed
    return values


def _top1(row: MetricsRow) -> float:
    """Of the average where there is one."""
    return row.ema_top1 if row.ema_top1 is not None else row.val_top1 or 0.0
