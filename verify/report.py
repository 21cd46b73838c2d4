"""The report for people: a table, what is wrong in detail, and where to look first."""

from collections.abc import Iterable, Sequence

from verify.exhaustive import Coverage
from verify.mutants import MutantResult
from verify.precision import PrecisionRow
from verify.results import COMPLEX, DEFINITION, DIFFERENCES, DIRECTIONS, TAYLOR, CaseResult, MethodResult, TensorResult

HEADER = f"{'tensor':<50} {'shape':>18} {'complex':>9} {'differ.':>9} {'Taylor':>7}  {'worst at':<17} verdict"


def case_lines(result: CaseResult) -> list[str]:
    """The rows of one case: worst relative errors by either method, lowest Taylor rate, place of the worst, verdict."""
    checked, size = sum(t.checked for t in result.tensors), sum(t.size for t in result.tensors)
    share = f"{checked:,} coordinates" if checked == size else f"{checked:,} of {size:,} coordinates"
    lines = [f"{result.name}   {share}, {result.seconds:.1f} s"]
    lines += [f"  {_row(tensor)}" for tensor in result.tensors]
    if result.note:
        lines.append(f"    {result.note}")
    return lines


def _row(tensor: TensorResult) -> str:
    exact = tensor.method(COMPLEX) or tensor.method(DEFINITION)
    rough = tensor.method(DIFFERENCES)
    place = next((method for method in (exact, rough) if method is not None and method.where is not None), None)
    shape = " x ".join(map(str, tensor.shape)) or "1"
    where = str(place.where).replace(" ", "") if place else ""
    return (
        f"{_short(tensor.name, 48):<48} {shape:>18} {_worst(exact):>9} {_worst(rough):>9} {_rate(tensor):>7}  "
        f"{where:<17} {_verdict(tensor)}"
    )


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else "..." + name[3 - width :]


def _worst(method: MethodResult | None) -> str:
    if method is None:
        return "-"
    return "zero" if method.worst is None else f"{method.worst:.0e}" if method.worst else "0"


def _rate(tensor: TensorResult) -> str:
    method = tensor.method(TAYLOR)
    if method is None:
        return "-"
    return f"{min(method.rates):.2f}" if method.rates else "linear" if method.note else "?"


def _verdict(tensor: TensorResult) -> str:
    notes = [f"zero by theory, below {tensor.floor:.0e}"] if tensor.zero and tensor.floor else []
    notes += [f"no derivative at {tensor.kinks}"] if tensor.kinks else []
    if tensor.verdict != "pass":
        return tensor.verdict.upper()
    return f"pass ({'; '.join(notes)})" if notes else "pass"


def wrong_lines(tensor: TensorResult) -> list[str]:
    """What is known of a wrong gradient: the kind of mistake, and the worst coordinate with both values."""
    lines = [f"WRONG  {tensor.case}: {tensor.name}, shape {tensor.shape}", f"       {tensor.diagnosis}"]
    for method in tensor.methods:
        if method.verdict == "wrong" and method.numeric is not None:
            at = f"at {method.where}" if method.where is not None else "along a random direction"
            lines.append(
                f"       {method.method}: worst {at}: analytic {method.analytic:.12g}, numeric {method.numeric:.12g} "
                f"+- {method.bar_there:.1e}"
            )
        elif method.verdict == "wrong" and method.method == TAYLOR:
            lines.append(f"       Taylor: the remainder falls with rates {', '.join(f'{r:.2f}' for r in method.rates)}")
    return lines


def culprits(results: Sequence[CaseResult]) -> list[str]:
    """The classes to look at first: those with a wrong case of their own that contain no other such class."""
    guilty = {result.target for result in results if result.wrong}
    return sorted({r.target for r in results if r.wrong and not (guilty & r.contains) - {r.target}})


def findings(results: Sequence[CaseResult]) -> list[str]:
    """Everything that is wrong, inner layers first; cases that only contain a culprit get one line."""
    first = set(culprits(results))
    lines: list[str] = []
    for result in results:
        if result.target in first:
            told = {tensor.diagnosis: tensor for tensor in result.wrong}
            if len(told) == 1 and len(result.wrong) > 1:  # one mistake that spoils them all, as an exception does
                names = ", ".join(tensor.name for tensor in result.wrong)
                lines += [f"WRONG  {result.name}: {names}", f"       {next(iter(told))}", ""]
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
                lines.append(f"INCONCLUSIVE  {result.name}: {tensor.name}: {_why_inconclusive(tensor)}")
    return lines


def _why_inconclusive(tensor: TensorResult) -> str:
    if tensor.diagnosis:
        return tensor.diagnosis
    bars = [f"{m.method} to within {m.bar:.0e}" for m in tensor.methods if m.bar is not None]
    return f"the error bars are too wide to tell ({', '.join(bars) or 'no method could be used'})"


def mutant_lines(result: MutantResult) -> list[str]:
    """A mutant, who caught it, and what the first case that did says about it."""
    mutant, file = result.mutant, result.mutant.file.rpartition("/")[2]
    if result.survived:
        return [f"SURVIVED  {file}: {mutant.mistake}: none of {result.cases} cases noticed"]
    case = result.caught[0]
    tensor = case.wrong[0]
    cases = f"{len(result.caught)} of {result.cases} cases"
    return [
        f"caught    {file}: {mutant.mistake}",
        f"          by {', '.join(result.methods)}, in {cases}: {case.name}: {tensor.name}: {tensor.diagnosis}",
    ]


def summary(results: Iterable[CaseResult], seconds: float, seed: int, coverage: Coverage | None = None) -> str:
    """One line: how much was checked, and with what result; of an exhaustive check, what is not yet known."""
    results = list(results)
    tensors = [tensor for result in results for tensor in result.tensors]
    count = {verdict: sum(tensor.verdict == verdict for tensor in tensors) for verdict in ("wrong", "inconclusive")}
    told = ", ".join(f"{number} {verdict}" for verdict, number in count.items() if number) or "all pass"
    if coverage is not None and not coverage.finished:
        told = f"{told if tensors else 'nothing known'} so far; {coverage.missing}"
    coordinates = sum(tensor.checked for tensor in tensors)
    return (
        f"{len(results)} cases, {len(tensors)} tensors, {coordinates:,} coordinates: {told}. "
        f"{seconds:.0f} s, seed {seed}"
    )


def precision_summary(rows: Sequence[PrecisionRow], seconds: float, seed: int) -> str:
    """One line: what lower precision costs in all parameters together."""
    errors = ", ".join(f"{kind} {error:.1e}" for kind, error in rows[-1].errors.items() if error is not None)
    return f"{len(rows) - 1} gradients, error of all parameters against float64: {errors}. {seconds:.0f} s, seed {seed}"


def worst_errors(results: Iterable[CaseResult]) -> str:
    """The largest errors anywhere, to be held against what each method can do."""
    tensors = [tensor for result in results for tensor in result.tensors if not tensor.zero]
    told = []
    for name in (COMPLEX, DIFFERENCES, DIRECTIONS):
        found = [method for tensor in tensors for method in tensor.methods if method.method == name]
        worst = max((method.worst for method in found if method.worst is not None), default=None)
        norm = max((method.norm for method in found if method.norm is not None), default=None)
        if worst is not None and name != DIRECTIONS:
            told.append(f"{name} {worst:.1e} ({norm or 0:.1e} in the norm)")
        elif worst is not None:
            told.append(f"random directions {worst:.1e}")
    return f"largest errors, relative to the largest gradient of the tensor: {', '.join(told)}" if told else ""
