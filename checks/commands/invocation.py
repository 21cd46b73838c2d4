"""One call of gradcheck.py, and what all kinds of checks do with it."""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from checks.commands.options import command_line
from checks.commands.output import show
from checks.commands.selection import is_selected, nothing_selected
from checks.compiled import Piece
from checks.full_size import Point
from checks.page import Report
from checks.report import findings, summary, worst_errors
from common.errors import UserError
from training.hosts import ALONE, Hosts
from verify.case import Case
from verify.check import check_case
from verify.measure import Plan
from verify.results import (
    CASE_HEADER,
    HEADER,
    INCONCLUSIVE,
    PASS,
    WRONG,
    CaseResult,
    case_line,
    case_lines,
    wrapped,
)

Selectable = TypeVar("Selectable", Case, CaseResult, Piece)
EXIT = {PASS: 0, WRONG: 1, INCONCLUSIVE: 2}


@dataclass
class Invocation:
    """What was asked for, and the report to be filled in."""

    args: argparse.Namespace
    point: Point | None  # of a full-size check
    report: Report
    start: float  # of the command, by time.perf_counter()
    hosts: Hosts = ALONE  # this process among those that check together
    names: list[str] = field(default_factory=list)  # of all cases, selected or not

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.perf_counter() - self.start

    def selected(self, cases: Iterable[Selectable]) -> list[Selectable]:
        """The cases (or results) that --only selects. The names of the others are kept for `no_such_case`."""
        chosen = []
        for case in cases:
            self.names += [case.name, case.target]
            if is_selected(self.args.only, case.name, case.target):
                chosen.append(case)
        return chosen

    def no_such_case(self) -> UserError:
        """The error if --only selects nothing."""
        return nothing_selected(self.args.only, "case has this in its name", self.names)

    def check_in_parallel(self, cases: Iterable[Case], plan: Plan) -> Iterator[CaseResult]:
        """One case on each core, as neither compiling nor computing uses two. Results keep the order of the cases."""
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            yield from pool.map(lambda case: check_case(case, self.args.seed, plan), cases)

    def print_each(self, results: Iterable[CaseResult]) -> list[CaseResult]:
        """Print results as they come in: a line for each, and with --verbose one for each tensor.

        Raises:
            UserError: there are none.
        """
        found: list[CaseResult] = []
        for result in results:
            if not found:
                show([HEADER if self.args.verbose else CASE_HEADER])
            show(case_lines(result) if self.args.verbose else [case_line(result)])
            found.append(result)
        if not found:
            raise self.no_such_case()
        return found

    def conclude(self, results: Sequence[CaseResult]) -> int:
        """Put the results into the report and print what was found; return the exit code."""
        report, args = self.report, self.args
        report.results, report.verdict = results, overall_verdict(results)
        report.summary = summary(results, self.seconds, args.seed, report.coverage)
        show(["", *wrapped([*findings(results), worst_errors(results), report.summary])])
        if report.verdict == WRONG:
            first = next(result.name for result in results if result.wrong)
            # No files: those that are written belong to a check of more than this case.
            no_files = {"state": None, "json": None, "html": None}
            again = argparse.Namespace(**{**vars(args), "only": first, "budget": None, **no_files})
            print(f"again: {command_line(again)}")
        return EXIT[report.verdict]


def overall_verdict(results: Sequence[CaseResult]) -> str:
    """Wrong if any result is, pass if all of them passed; no results at all are inconclusive."""
    verdicts = {result.verdict for result in results}
    return WRONG if WRONG in verdicts else PASS if verdicts == {PASS} else INCONCLUSIVE
