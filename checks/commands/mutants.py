"""`python gradcheck.py --mutants`: plant known mistakes, one at a time. Each must be caught."""

import time

from checks.cases import mutant_cases
from checks.commands.invocation import EXIT, Invocation
from checks.commands.output import show
from checks.commands.selection import is_selected, nothing_selected
from checks.mutants import MutantCheck, MutantResult, load_mutants
from checks.report import mutant_lines
from common.text import counted
from verify.results import PASS, WRONG, wrapped


def run(call: Invocation) -> int:
    args, report = call.args, call.report
    names = {f"{mutant.file}: {mutant.mistake}": mutant for mutant in load_mutants()}
    mutants = [mutant for name, mutant in names.items() if is_selected(args.only, name)]
    if not mutants:
        near = [part for m in names.values() for part in (m.file.rpartition("/")[2], m.mistake)]
        raise nothing_selected(args.only, "mutant has this in its file or its mistake", near)
    trial = MutantCheck(mutant_cases(args.seed), args.seed)
    results: list[MutantResult] = []
    start = time.perf_counter()
    for mutant in mutants:
        results.append(trial.check(mutant))
        show(wrapped(mutant_lines(results[-1])))
    survived = [result for result in results if result.survived]
    report.mutants, report.results = results, trial.baseline
    wrong = [result.name for result in trial.baseline if not result.passed]
    report.verdict = WRONG if survived or wrong else PASS
    report.summary = (
        f"{len(results) - len(survived)} of {counted(len(results), 'mutant')} caught, {len(survived)} survived; "
        f"without a mutant {len(trial.baseline) - len(wrong)} of {counted(len(trial.baseline), 'case')} pass. "
        f"{time.perf_counter() - start:.0f} s, seed {args.seed}"
    )
    show(["", *wrapped([report.summary])])
    return EXIT[report.verdict]
