"""`python gradcheck.py --mutants`: plant known mistakes, one at a time. Each must be caught."""

import time

from checks.cases import mutant_cases
from checks.commands.invocation import EXIT, Invocation
from checks.mutants import MutantCheck, MutantResult, load_mutants
from checks.report import mutant_lines
from common.errors import UserError
from common.text import counted
from verify.results import PASS, WRONG


def run(call: Invocation) -> int:
    args, report = call.args, call.report
    mutants = [mutant for mutant in load_mutants() if call.selected(f"{mutant.file}: {mutant.mistake}")]
    if not mutants:
        raise UserError(f"--only {args.only}: no mutant has this in its file or its mistake")
    trial = MutantCheck(mutant_cases(args.seed), args.seed)
    results: list[MutantResult] = []
    start = time.perf_counter()
    for mutant in mutants:
        results.append(trial.check(mutant))
        print("\n".join(mutant_lines(results[-1])), flush=True)
    survived = [result for result in results if result.survived]
    report.mutants, report.results = results, trial.baseline
    wrong = [result.name for result in trial.baseline if not result.passed]
    report.verdict = WRONG if survived or wrong else PASS
    report.summary = (
        f"{len(results) - len(survived)} of {counted(len(results), 'mutant')} caught, {len(survived)} survived; "
        f"without a mutant {len(trial.baseline) - len(wrong)} of {counted(len(trial.baseline), 'case')} pass. "
        f"{time.perf_counter() - start:.0f} s, seed {args.seed}"
    )
    print(f"\n{report.summary}")
    return EXIT[report.verdict]
