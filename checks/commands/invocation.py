"""One call of gradcheck.py, and what all kinds of checks do with it."""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from checks.commands.options import command_line
from checks.full_size import Point
from checks.page import Report
from checks.report import findings, summary, worst_errors
from common.errors import UserError
from verify.case import Case
from verify.check import check_case
from verify.measure import Plan
from verify.results import HEADER, INCONCLUSIVE, PASS, WRONG, CaseResult, case_lines

EXIT = {PASS: 0, WRONG: 1, INCONCLUSIVE: 2}


@dataclass
class Invocation:
    """What was asked for, and the report to be filled in."""

    args: argparse.Namespace
    point: Point | None  # of a full-size check
    report: Report
    start: float  # of the command, by time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.perf_counter() - self.start

    def selected(self, name: str) -> bool:
        """Whether `name` contains the TEXT of --only; case does not matter."""
        return self.args.only.casefold() in name.casefold()

    def no_such_case(self) -> UserError:
        return UserError(f"--only {self.args.only}: no case has this in its name; without it all of them are checked")

    def check_in_parallel(self, cases: Iterable[Case], plan: Plan) -> Iterator[CaseResult]:
        """One case on each core, as neither compiling nor computing uses two. Results keep the order of the cases."""
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            yield from pool.map(lambda case: check_case(case, self.args.seed, plan), cases)

    def print_each(self, results: Iterable[CaseResult]) -> list[CaseResult]:
        """Print results as they come in. Raises UserError if there are none."""
        print(HEADER, flush=True)
        found = []
        for result in results:
            print("\n".join(case_lines(result)), flush=True)
            found.append(result)
        if not found:
            raise self.no_such_case()
        return found

    def conclude(self, results: Sequence[CaseResult]) -> int:
        """Put the results into the report and print what was found; return the exit code."""
        report, args = self.report, self.args
        report.results, report.verdict = results, overall_verdict(results)
        report.summary = summary(results, self.seconds, args.seed, report.coverage)
        print("\n" + "\n".join([*findings(results), worst_errors(results), report.summary]))
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
