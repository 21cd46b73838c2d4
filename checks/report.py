"""The report for people: what is wrong in detail, where to look first, and a summary."""

from collections.abc import Iterable, Sequence

from checks.exhaustive import Coverage
from checks.mutants import MutantResult
from checks.precision import PrecisionRow
from common.text import counted
from verify.results import COMPILED, COMPLEX, DIFFERENCES, DIRECTIONS, CaseResult, why_inconclusive, wrong_lines

NAMED = 6  # tensors that one mistake spoils


def innermost_wrong(results: Sequence[CaseResult]) -> list[str]:
    """The classes to look at first: those with a wrong case that contain no other class with a wrong case."""
    wrong = {result.target for result in results if result.wrong}
    return sorted({r.target for r in results if r.wrong and not (wrong & r.contains) - {r.target}})


def findings(results: Sequence[CaseResult]) -> list[str]:
    """Everything that is wrong, innermost classes first; cases that only contain one of these share a line."""
    first = set(innermost_wrong(results))
    lines: list[str] = []
    for result in results:
        if result.target in first:
            diagnoses = {tensor.diagnosis for tensor in result.wrong}
            if len(diagnoses) == 1 and len(result.wrong) > 1:  # one mistake that spoils them all, as an exception does
                names = ", ".join(tensor.name for tensor in result.wrong[:NAMED])
                names += f" and {len(result.wrong) - NAMED} more" if len(result.wrong) > NAMED else ""
                lines += [f"WRONG  {result.name}: {names}", f"       {diagnoses.pop()}", ""]
                continue
            for tensor in result.wrong:
                lines += [*wrong_lines(tensor), ""]
    others = [result.name for result in results if result.wrong and result.target not in first]
    if first:
        lines.append(f"Look first at {' and '.join(sorted(first))}.")
    if others:
        lines.append(f"Wrong as well, and made of it: {', '.join(others)}.")
    for result in results:
        for tensor in result.tensors:
            if tensor.verdict == "inconclusive":
                lines.append(f"INCONCLUSIVE  {result.name}: {tensor.name}: {why_inconclusive(tensor)}")
    return lines


def mutant_lines(result: MutantResult) -> list[str]:
    """A mutant, the methods that caught it, and the diagnosis of the first case that did."""
    mutant, file = result.mutant, result.mutant.file.rpartition("/")[2]
    if result.survived:
        return [f"SURVIVED  {file}: {mutant.mistake}: none of {counted(result.cases, 'case')} noticed"]
    case = result.caught[0]
    tensor = case.wrong[0]
    cases = f"{len(result.caught)} of {counted(result.cases, 'case')}"
    return [
        f"caught    {file}: {mutant.mistake}",
        f"          by {', '.join(result.methods)}, in {cases}: {case.name}: {tensor.name}: {tensor.diagnosis}",
    ]


def summary(results: Iterable[CaseResult], seconds: float, seed: int, coverage: Coverage | None = None) -> str:
    """One line: how much was checked, with what result, and what an exhaustive check has not reached yet."""
    results = list(results)
    tensors = [tensor for result in results for tensor in result.tensors]
    count = {verdict: sum(tensor.verdict == verdict for tensor in tensors) for verdict in ("wrong", "inconclusive")}
    outcome = ", ".join(f"{number} {verdict}" for verdict, number in count.items() if number) or "all pass"
    if coverage is not None and not coverage.finished:
        outcome = f"{outcome if tensors else 'nothing known'} so far; {coverage.missing}"
    # A compiled program has no derivatives of its own: its numbers are compared, not differentiated.
    coordinates = sum(tensor.checked for tensor in tensors if tensor.method(COMPILED) is None)
    return (
        f"{counted(len(results), 'case')}, {counted(len(tensors), 'tensor')}, "
        f"{counted(coordinates, 'coordinate')}: {outcome}. "
        f"{seconds:.0f} s, seed {seed}"
    )


def precision_summary(rows: Sequence[PrecisionRow], seconds: float, seed: int) -> str:
    """One line: the error of lower precision in all parameters together."""
    errors = ", ".join(f"{kind} {error:.1e}" for kind, error in rows[-1].errors.items() if error is not None)
    return (
        f"{counted(len(rows) - 1, 'gradient')}, error of all parameters against float64: {errors}. "
        f"{seconds:.0f} s, seed {seed}"
    )


def worst_errors(results: Iterable[CaseResult]) -> str:
    """One line: the largest error of each method in any tensor."""
    tensors = [tensor for result in results for tensor in result.tensors if not tensor.zero]
    errors = []
    for name in (COMPLEX, DIFFERENCES, DIRECTIONS):
        found = [method for tensor in tensors for method in tensor.methods if method.method == name]
        worst = max((method.worst for method in found if method.worst is not None), default=None)
        norm = max((method.norm for method in found if method.norm is not None), default=None)
        if worst is not None and name != DIRECTIONS:
            errors.append(f"{name} {worst:.1e} ({norm or 0:.1e} in the norm)")
        elif worst is not None:
            errors.append(f"random directions {worst:.1e}")
    compiled = [method.worst for tensor in tensors if (method := tensor.method(COMPILED)) is not None]
    if compiled:
        errors.append(f"compiled program {max(worst or 0.0 for worst in compiled):.1e}")
    return f"largest errors, relative to the largest gradient of the tensor: {', '.join(errors)}" if errors else ""
