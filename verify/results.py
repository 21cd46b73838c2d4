"""What a check found, from one method on one tensor up to a whole case."""

from collections.abc import Iterable
from dataclasses import dataclass, field

PASS, WRONG, INCONCLUSIVE = "pass", "wrong", "inconclusive"
COMPLEX, DIFFERENCES, DIRECTIONS, TAYLOR = "complex step", "differences", "directions", "Taylor"
STRUCTURE = "structure"  # names, shapes and types, before any number is compared
DEFINITION = "definition"  # what has no backward is compared with its definition


@dataclass
class MethodResult:
    """What one method says about one tensor. Errors are relative to the tensor's largest gradient, or to its norm."""

    method: str
    verdict: str
    worst: float | None = None  # largest |analytic - numeric| / scale
    norm: float | None = None  # |analytic - numeric| / |numeric|, Euclidean
    bar: float | None = None  # largest error bar / scale
    where: tuple[int, ...] | None = None  # the worst coordinate, and there:
    analytic: float | None = None
    numeric: float | None = None
    bar_there: float | None = None
    rates: list[float] = field(default_factory=list)  # of the Taylor test
    note: str = ""


@dataclass
class TensorResult:
    """The verdict on one tensor, or on a region of it."""

    case: str
    name: str
    shape: tuple[int, ...]
    size: int
    checked: int = 0  # coordinates that were checked one by one
    scale: float = 0.0  # largest gradient
    floor: float = 0.0  # what rounding alone makes of a gradient that is zero
    zero: bool = False  # zero by theory: below the floor on both sides
    kinks: int = 0  # coordinates at which the function has no derivative
    methods: list[MethodResult] = field(default_factory=list)
    diagnosis: str = ""
    curve: list[tuple[float, float]] = field(default_factory=list)  # (step, error) of plain differences

    @property
    def verdict(self) -> str:
        """`wrong` if any method found a mistake; `pass` if none did and at least one could have."""
        return combine(result.verdict for result in self.methods)

    @property
    def wrong_method(self) -> MethodResult | None:
        """The first method that found a mistake."""
        return next((result for result in self.methods if result.verdict == WRONG), None)

    def method(self, name: str) -> MethodResult | None:
        return next((result for result in self.methods if result.method == name), None)


@dataclass
class CaseResult:
    """The verdicts on one case; `note` says why a method could not be used."""

    name: str
    target: str
    contains: frozenset[str]
    seed: int
    tensors: list[TensorResult]
    noise: float = 0.0  # standard deviation of the rounding errors of <w, f>
    seconds: float = 0.0
    note: str = ""

    @property
    def verdict(self) -> str:
        """`wrong` if any tensor is, `pass` if every one passed, else `inconclusive`."""
        verdicts = {tensor.verdict for tensor in self.tensors}
        return WRONG if WRONG in verdicts else PASS if verdicts == {PASS} else INCONCLUSIVE

    @property
    def passed(self) -> bool:
        return self.verdict == PASS

    @property
    def wrong(self) -> list[TensorResult]:
        return [tensor for tensor in self.tensors if tensor.verdict == WRONG]

    def __str__(self) -> str:
        """A row for each tensor, then the details of each that is wrong."""
        return "\n".join([*case_lines(self), *(line for tensor in self.wrong for line in wrong_lines(tensor))])


def combine(verdicts: Iterable[str]) -> str:
    """`wrong` if any is, else `pass` if any is."""
    found = set(verdicts)
    return WRONG if WRONG in found else PASS if PASS in found else INCONCLUSIVE


# As text.

HEADER = f"{'tensor':<50} {'shape':>18} {'complex':>9} {'differ.':>9} {'Taylor':>7}  {'worst at':<17} verdict"


def case_lines(result: CaseResult) -> list[str]:
    """One case as rows of a table: largest relative errors of both methods, lowest Taylor rate, where, verdict."""
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
    """The details of a wrong gradient: the kind of mistake, and the worst coordinate with both values."""
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
