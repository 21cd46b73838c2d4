"""What a check found, from one method on one tensor up to a whole case, and the same as text."""

import html
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PASS, WRONG, INCONCLUSIVE = "pass", "wrong", "inconclusive"
COMPLEX, DIFFERENCES, DIRECTIONS, TAYLOR = "complex step", "differences", "directions", "Taylor"
STRUCTURE = "structure"  # names, shapes and types, before any number is compared
DEFINITION = "definition"  # what has no backward is compared with its definition
COMPILED = "compiled"  # a compiled program is compared with its operations one by one: `analytic` and `numeric`
EXACT = (COMPLEX, DEFINITION, COMPILED)


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


@dataclass(repr=False)
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

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.shape)) or "1"
        return f"<TensorResult {self.name}, {shape}: {self.verdict}{f', {self.diagnosis}' if self.diagnosis else ''}>"

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


@dataclass(repr=False)
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

    @property
    def checked(self) -> int:
        """How many coordinates were checked one by one."""
        return sum(tensor.checked for tensor in self.tensors)

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return sum(tensor.size for tensor in self.tensors)

    def __repr__(self) -> str:
        tensors = f"{len(self.tensors)} tensor{'' if len(self.tensors) == 1 else 's'}"
        wrong = f" ({', '.join(tensor.name for tensor in self.wrong)})" if self.wrong else ""
        return f"<CaseResult {self.name}: {self.verdict}{wrong}, {tensors}, {self.checked:,} coordinates>"

    def __str__(self) -> str:
        """A table with a row for each tensor, then the details of each that did not pass; 80 columns wide."""
        return "\n".join([*wrapped([_title(self)]), HEADER, *_rows(self), *wrapped(self._details())])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        rows = [
            [tensor.name, *_cells(tensor), "; ".join([_verdict(tensor), *_remarks(tensor)])] for tensor in self.tensors
        ]
        parts = [f"<p>{html.escape(_title(self))}: <b>{self.verdict}</b></p>", table_html(HEADINGS, rows)]
        details = [self.note, *self._details()] if self.note else self._details()
        return "\n".join([*parts, f"<pre>{html.escape(chr(10).join(details))}</pre>"] if details else parts)

    def _details(self) -> list[str]:
        """What there is to say of the tensors that did not pass."""
        lines = [line for tensor in self.wrong for line in wrong_lines(tensor)]
        unsure = [tensor for tensor in self.tensors if tensor.verdict == INCONCLUSIVE and tensor.diagnosis != self.note]
        return lines + [f"INCONCLUSIVE  {self.name}: {tensor.name}: {why_inconclusive(tensor)}" for tensor in unsure]


def combine(verdicts: Iterable[str]) -> str:
    """`wrong` if any is, else `pass` if any is."""
    found = set(verdicts)
    return WRONG if WRONG in found else PASS if PASS in found else INCONCLUSIVE


# As text: no line is longer than a terminal of 80 columns.

WIDTH = 80
HEADINGS = ("tensor", "shape", "complex", "differ.", "Taylor", "verdict")
NAME, CASE = 25, 50  # columns of the name of a tensor, and of a case


def short(name: str, width: int) -> str:
    """The end of a name that is longer than `width`."""
    return name if len(name) <= width else "..." + name[3 - width :]


def _line(name: str, cells: Sequence[str], verdict: str) -> str:
    """A row of the table of tensors."""
    shape, exact, rough, rate = cells
    return f"  {short(name, NAME):<{NAME}} {shape:>14} {exact:>7} {rough:>7} {rate:>6}  {verdict}"


def _case_line(name: str, exact: str, rough: str, verdict: str) -> str:
    """A row of the table of cases."""
    return f"{short(name, CASE):<{CASE}} {exact:>7} {rough:>7}  {verdict}"


HEADER = _line(HEADINGS[0], HEADINGS[1:-1], HEADINGS[-1])
CASE_HEADER = _case_line("case", "complex", "differ.", "verdict")


def case_line(result: CaseResult) -> str:
    """One case as a row: the largest relative errors of both methods in any tensor, and the verdict."""
    exact = [_exact(tensor) for tensor in result.tensors]
    rough = [tensor.method(DIFFERENCES) for tensor in result.tensors]
    verdict = result.verdict if result.passed else result.verdict.upper()
    return _case_line(result.name, _worst(*exact), _worst(*rough), verdict)


def case_lines(result: CaseResult) -> list[str]:
    """One case as rows of a table: its title; for each tensor the largest relative errors of both methods, the lowest
    Taylor rate and the verdict; and what there is to remark."""
    return wrapped([_title(result)]) + _rows(result)


def _rows(result: CaseResult) -> list[str]:
    lines = []
    for tensor in result.tensors:
        lines.append(_line(tensor.name, _cells(tensor), _verdict(tensor)))
        lines += [f"    {remark}" for remark in _remarks(tensor)]
    return lines + (wrapped([f"    {result.note}"]) if result.note else [])


def _title(result: CaseResult) -> str:
    of = "" if result.checked == result.size else f" of {result.size:,}"
    return f"{result.name}   {result.checked:,}{of} coordinates, {result.seconds:.1f} s"


def _cells(tensor: TensorResult) -> tuple[str, str, str, str]:
    """Shape, errors of the exact method and of differences, and the Taylor rate."""
    shape = " x ".join(map(str, tensor.shape)) or "1"
    exact = _exact(tensor)
    return (
        shape if len(shape) <= 14 else shape.replace(" ", ""), _worst(exact), _worst(tensor.method(DIFFERENCES)),
        _rate(tensor),
    )  # fmt: skip


def _exact(tensor: TensorResult) -> MethodResult | None:
    """The method whose error bar is rounding alone."""
    return next((found for name in EXACT if (found := tensor.method(name)) is not None), None)


def _verdict(tensor: TensorResult) -> str:
    return tensor.verdict if tensor.verdict == PASS else tensor.verdict.upper()


def _remarks(tensor: TensorResult) -> list[str]:
    notes = [f"zero by theory, below {tensor.floor:.0e}"] if tensor.zero and tensor.floor else []
    return notes + ([f"no derivative at {tensor.kinks}"] if tensor.kinks else [])


def _worst(*methods: MethodResult | None) -> str:
    """The largest error of a method in some tensors."""
    used = [method for method in methods if method is not None]
    worst = max((method.worst for method in used if method.worst is not None), default=None)
    return "-" if not used else "zero" if worst is None else f"{worst:.0e}" if worst else "0"


def _rate(tensor: TensorResult) -> str:
    method = tensor.method(TAYLOR)
    if method is None:
        return "-"
    return f"{min(method.rates):.2f}" if method.rates else "linear" if method.note else "?"


def wrong_lines(tensor: TensorResult) -> list[str]:
    """The details of a wrong gradient: the kind of mistake, and the worst coordinate with both values."""
    lines = [f"WRONG  {tensor.case}: {tensor.name}, shape {tensor.shape}", f"       {tensor.diagnosis}"]
    for method in tensor.methods:
        if method.verdict == WRONG and method.method == COMPILED and method.numeric is not None:
            lines.append(
                f"       worst at {method.where}: compiled {method.analytic:.9g}, one by one {method.numeric:.9g}; "
                f"rounding allows {method.bar_there:.1e}"
            )
        elif method.verdict == WRONG and method.numeric is not None:
            at = f"at {method.where}" if method.where is not None else "along a random direction"
            lines.append(
                f"       {method.method}: worst {at}: analytic {method.analytic:.12g}, numeric {method.numeric:.12g} "
                f"+- {method.bar_there:.1e}"
            )
        elif method.verdict == WRONG and method.method == TAYLOR:
            lines.append(f"       Taylor: the remainder falls with rates {', '.join(f'{r:.2f}' for r in method.rates)}")
    return lines


def why_inconclusive(tensor: TensorResult) -> str:
    """Why nothing can be said of a tensor."""
    if tensor.diagnosis:
        return tensor.diagnosis
    bars = [f"{m.method} to within {m.bar:.0e}" for m in tensor.methods if m.bar is not None]
    return f"the error bars are too wide to tell ({', '.join(bars) or 'no method could be used'})"


def wrapped(lines: Iterable[str]) -> list[str]:
    """The lines, those that are longer than a terminal broken and indented a little further."""
    found = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        found += textwrap.wrap(
            line, WIDTH - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
        ) or [""]  # fmt: skip
    return found


def table_html(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a page or a notebook."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "\n".join(["<table>", f"<tr>{head}</tr>", *(f"<tr>{cells}</tr>" for cells in body), "</table>"])
