"""Measurements as text."""

import datetime
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import PRODUCTS, REFERENCE
from benchmarks.contestants.operations import forward_operations, step_operations
from benchmarks.contestants.problem import Problem
from benchmarks.contestants.products import DTYPES
from benchmarks.contestants.workers import Outcome
from common.cores import available_cores

HEADINGS = (
    "contestant", "median", "fastest", "slowest", "spread", "ratio", "floor", "compile", "temp MiB", "peak MiB",
    "forward", "images/s",
)  # fmt: skip


def machine() -> str:
    """This machine in words: processor, cores, memory, Python version; and today's date."""
    cores = available_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.date.today().isoformat()
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}, {today}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe(problem: Problem) -> str:
    (H, W), (h, w) = problem.image_size, problem.patch_size
    return (
        f"{problem.dtype} on {problem.device}: batch {problem.batch}, images {H}x{W}, patches {h}x{w}, "
        f"{problem.tokens} tokens, width {problem.d_model}, {problem.heads} heads, {problem.layers} layers, "
        f"{problem.num_classes} classes"
    )


def speed(outcomes: Sequence[Outcome], dtype: str) -> float | None:
    """Median operations per second of the fastest matrix product of a type; None if none was measured."""
    rates = [rate for outcome in outcomes for (kind, _), rate in product_rates(outcome).items() if kind == dtype]
    return max(rates, default=None)


def product_rates(outcome: Outcome) -> dict[tuple[str, str], float]:
    """Operations per second by type and size."""
    rates = {}
    for name, seconds in outcome.products.items():
        dtype, size = name.split()
        rows, inner, columns = map(int, size.split("x"))
        rates[dtype, size] = 2 * rows * inner * columns / statistics.median(seconds)
    return rates


def floor_lines(problem: Problem, outcomes: Sequence[Outcome]) -> list[str]:
    """The speed of the matrix products, and the operations that a step needs."""
    lines = [
        f"product {size} in {dtype}: {rate / 1e9:,.0f} GFLOP/s"
        for outcome in outcomes
        for (dtype, size), rate in product_rates(outcome).items()
    ]
    needed, whole = step_operations(problem), step_operations(problem, whole=True)
    line = (
        f"products of a step: {needed / 1e9:,.1f} GFLOP must be done ({whole / 1e9:,.1f} with a whole last block); "
        f"forward alone {forward_operations(problem) / 1e9:,.1f}"
    )
    rates = {dtype: rate for dtype in DTYPES if (rate := speed(outcomes, dtype))}
    floors = ", ".join(f"{needed / rate:.3f} s in {dtype}" for dtype, rate in rates.items())
    return [*lines, line, *([f"floor of a step: {floors}"] if floors else [])]


def table(problem: Problem, outcomes: Sequence[Outcome]) -> list[str]:
    """A line per contestant: seconds per step, and its ratios to the reference and to the floor."""
    rate = speed(outcomes, problem.dtype)
    floor = step_operations(problem) / rate if rate else None
    base = next((statistics.median(o.steps) for o in outcomes if o.name == REFERENCE and o.steps), None)
    rows: list[tuple[str, ...]] = [HEADINGS]
    absent = []
    for outcome in outcomes:
        if outcome.note is not None:
            absent.append(f"{outcome.name}: {outcome.note}")
        elif outcome.name != PRODUCTS:
            rows.append(_row(problem, outcome, base, floor))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return lines + absent


def _row(problem: Problem, outcome: Outcome, base: float | None, floor: float | None) -> tuple[str, ...]:
    median = statistics.median(outcome.steps)
    forward = statistics.median(outcome.forwards) if outcome.forwards else None
    on_gpu = problem.device == "gpu"
    return (
        outcome.name,
        f"{median:.4f}",
        f"{min(outcome.steps):.4f}",
        f"{max(outcome.steps):.4f}",
        f"{(max(outcome.steps) - min(outcome.steps)) / median:.0%}",
        f"{base / median:.2f}" if base else "-",
        f"{median / floor:.2f}" if floor else "-",
        "-" if outcome.compile_seconds is None else f"{outcome.compile_seconds:.1f}",
        mebibytes(outcome.temp_bytes),
        mebibytes(outcome.device_peak_bytes if on_gpu else outcome.peak_bytes),
        f"{forward:.4f}" if forward else "-",
        f"{problem.batch / forward:,.0f}" if forward else "-",
    )


def mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.0f}"
