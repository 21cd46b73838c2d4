"""Check every hand-derived gradient of this project against derivatives that are measured.

    python gradcheck.py                    every layer with every option, the loss and the whole model, at tiny shapes
    python gradcheck.py --only attention   the cases whose name contains a word

docs/gradcheck.md explains what is measured and how far it can be trusted. Exit code: 0 all pass; 1 a gradient is wrong;
2 bad usage, nothing checked, or something could not be decided.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from training.command import run_command
from training.device import CHOICES, choose_device, describe_device
from training.errors import UserError
from verify.case import Case
from verify.cases import all_cases
from verify.check import check_case
from verify.definitions import definition_results
from verify.measure import Plan
from verify.report import HEADER, case_lines, findings, summary, worst_errors
from verify.results import INCONCLUSIVE, PASS, WRONG, CaseResult

EXIT = {PASS: 0, WRONG: 1, INCONCLUSIVE: 2}


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    jax.config.update("jax_enable_x64", True)
    device = choose_device(args.device)
    start = time.perf_counter()
    cases = [case for case in all_cases(args.seed) if args.only in case.name]
    definitions = [result for result in definition_results(args.seed) if args.only in result.name]
    if not cases and not definitions:
        raise UserError(f"--only {args.only}: no case has this in its name; without it all of them are checked")
    print(f"device  {describe_device(device)}; float64; seed {args.seed}\n\n{HEADER}", flush=True)
    results = []
    for result in [*check_all(cases, args.seed, Plan()), *definitions]:
        print("\n".join(case_lines(result)), flush=True)
        results.append(result)
    return finish(results, time.perf_counter() - start, args)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gradcheck.py",
        description="Check every hand-derived gradient of this project against derivatives that are measured.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="only the cases whose name contains TEXT")
    parser.add_argument("--seed", type=int, default=0, help="of every random number (default: %(default)s)")
    parser.add_argument("--device", choices=CHOICES, default="auto", help="where to compute (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_intermixed_args(argv)


def check_all(cases: Iterable[Case], seed: int, plan: Plan) -> Iterator[CaseResult]:
    """Check the cases, several at a time since most of the time goes into compiling; results come in their order."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda case: check_case(case, seed, plan), cases)


def finish(results: Sequence[CaseResult], seconds: float, args: argparse.Namespace) -> int:
    """Print what was found; the exit code."""
    print("\n" + "\n".join([*findings(results), worst_errors(results), summary(results, seconds, args.seed)]))
    verdicts = {result.verdict for result in results}
    verdict = WRONG if WRONG in verdicts else PASS if verdicts == {PASS} else INCONCLUSIVE
    if verdict == WRONG:
        failed = next(result.name for result in results if result.wrong)
        print(f"again: python gradcheck.py --seed {args.seed} --only {shlex.quote(failed)}")
    return EXIT[verdict]


if __name__ == "__main__":
    sys.exit(run_command(main))
