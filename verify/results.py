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
    """The verdict on one tensor, or on a part of it that has a meaning of its own."""

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
        """One method that finds a mistake is enough; to pass, one must have been able to find it."""
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
        """A row for each tensor, then what is known of each that is wrong."""
        from verify.report import case_lines, wrong_lines  # the report knows the results, not the other way round

        return "\n".join([*case_lines(self), *(line for tensor in self.wrong for line in wrong_lines(tensor))])


def combine(verdicts: Iterable[str]) -> str:
    """`wrong` if any is, else `pass` if any is."""
    found = set(verdicts)
    return WRONG if WRONG in found else PASS if PASS in found else INCONCLUSIVE
