"""The report as one self-contained HTML file, and as JSON."""

import html
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from checks.exhaustive import Coverage
from checks.mutants import MutantResult
from checks.precision import TYPES, PrecisionRow
from checks.report import findings
from common.page import page
from common.text import counted
from verify.plot import sparkline
from verify.results import DIFFERENCES, DIRECTIONS, EXACT, TAYLOR, CaseResult, MethodResult, TensorResult

STYLE = """
body { font-size: 14px } table { width: 100%; margin: .5rem 0 1rem } th { border-bottom: 2px solid var(--line) }
.pass { color: var(--good) } .wrong { color: var(--bad); font-weight: 600 }
.inconclusive { color: var(--doubt); font-weight: 600 } details { overflow-x: auto }
"""


@dataclass
class Report:
    """Everything that one call of gradcheck.py found."""

    command: str
    device: str
    seed: int
    seconds: float
    verdict: str
    summary: str
    results: Sequence[CaseResult] = ()
    mutants: Sequence[MutantResult] = ()
    precision: Sequence[PrecisionRow] = ()
    coverage: Coverage | None = None  # of an exhaustive check
    versions: dict[str, str] = field(default_factory=dict)


def to_json(report: Report) -> str:
    """The report as JSON; NaN and infinity become null."""
    mutants = [
        {
            "file": m.mutant.file,
            "mistake": m.mutant.mistake,
            "caught": not m.survived,
            "methods": m.methods,
            "tensors": [f"{c.name}: {t.name}: {t.diagnosis}" for c in m.caught for t in c.wrong],
        }
        for m in report.mutants
    ]
    cases = [{**asdict(r), "contains": sorted(r.contains), "verdict": r.verdict} for r in report.results]
    for case, result in zip(cases, report.results, strict=True):
        for tensor, found in zip(case["tensors"], result.tensors, strict=True):
            tensor["verdict"] = found.verdict
    head = {name: getattr(report, name) for name in ("command", "device", "seed", "seconds", "verdict", "summary")}
    precision = [asdict(row) for row in report.precision]
    document = {**head, "versions": report.versions, "cases": cases, "mutants": mutants, "precision": precision}
    document["coverage"] = asdict(report.coverage) if report.coverage is not None else None
    return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_html(report: Report) -> str:
    """The report as a page: findings, a table for each case with error-against-step curves, mutants, precision."""
    verdict = report.verdict
    if report.coverage is not None and not report.coverage.finished:
        verdict += " so far"
    return page(f"Gradient check: {verdict}", _body(report, verdict), STYLE)


def _body(report: Report, verdict: str) -> Iterator[str]:
    yield f"<h1>Gradient check: <span class='{report.verdict}'>{verdict}</span></h1>"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"<p>{html.escape(report.summary)}</p>"
    if report.coverage is not None:
        yield f"<p>covered {report.coverage.share}, chosen at random</p>"
    yield f"<p><code>{html.escape(report.command)}</code> on {html.escape(report.device)}; {html.escape(versions)}</p>"
    found = findings(report.results)
    if found:
        yield f"<h2>What is wrong</h2><pre>{html.escape(chr(10).join(found))}</pre>"
    if report.results:
        yield "<h2>Every tensor</h2><p>Errors are relative to the largest gradient of the tensor. The curve is the "
        yield "error of plain central differences along a random direction, against a step that shrinks from left to "
        yield "right, on a scale from 1 down to 1e-16: first truncation falls, then rounding rises.</p>"
        for result in report.results:
            yield from _case(result)
    if report.mutants:
        yield from _mutants(report.mutants)
    if report.precision:
        yield from _precision(report.precision)


def _case(result: CaseResult) -> Iterator[str]:
    opened = "" if result.passed else " open"
    yield f"<details{opened}><summary>{html.escape(result.name)}: "
    yield f"<span class='{result.verdict}'>{result.verdict}</span>"
    coordinates = counted(sum(tensor.checked for tensor in result.tensors), "coordinate")
    yield f" ({counted(len(result.tensors), 'tensor')}, {coordinates})</summary>"
    if result.note:
        yield f"<p>{html.escape(result.note)}</p>"
    yield "<table><tr><th>tensor<th>shape<th>checked<th>complex step<th>differences<th>error bar<th>directions"
    yield "<th>Taylor rates<th>error against step<th>verdict</tr>"
    yield from (_tensor(tensor) for tensor in result.tensors)
    yield "</table></details>"


def _tensor(tensor: TensorResult) -> str:
    exact = next((m for m in tensor.methods if m.method in EXACT), None)
    rough, along, taylor = (tensor.method(name) for name in (DIFFERENCES, DIRECTIONS, TAYLOR))
    bar = f"{rough.bar:.0e}" if rough is not None and rough.bar is not None else ""
    rates = ", ".join(f"{rate:.2f}" for rate in taylor.rates) if taylor else ""
    notes = [f"zero by theory, below {tensor.floor:.0e}"] if tensor.zero else []
    notes += [f"no derivative at {tensor.kinks}"] if tensor.kinks else []
    remarks = html.escape("; ".join([*notes, *([tensor.diagnosis] if tensor.diagnosis else [])]))
    cells = [_number(exact), _number(rough), bar, _number(along)]
    return (
        f"<tr><td>{html.escape(tensor.name)}<td>{' x '.join(map(str, tensor.shape)) or '1'}"
        f"<td class='n'>{tensor.checked:,} of {tensor.size:,}{''.join(f'<td class=n>{cell}' for cell in cells)}"
        f"<td>{rates or (taylor.note if taylor else '')}<td>{sparkline(tensor.curve)}"
        f"<td><span class='{tensor.verdict}'>{tensor.verdict}</span> {remarks}</tr>"
    )


def _number(method: MethodResult | None) -> str:
    if method is None:
        return ""
    return f"{method.worst:.0e}" if method.worst is not None else html.escape(method.note)


def _mutants(mutants: Sequence[MutantResult]) -> Iterator[str]:
    caught = sum(not m.survived for m in mutants)
    yield f"<h2>Proof that it can fail: {caught} of {counted(len(mutants), 'planted mistake')} caught</h2>"
    yield "<table><tr><th>file<th>mistake<th>caught by<th>where, and the diagnosis</tr>"
    for m in mutants:
        first = next(((c, t) for c in m.caught for t in c.wrong), None)
        where = f"{first[0].name}: {first[1].name}: {first[1].diagnosis}" if first else ""
        by = ", ".join(m.methods) if first else "<span class='wrong'>survived</span>"
        yield f"<tr><td>{html.escape(m.mutant.file)}<td>{html.escape(m.mutant.mistake)}"
        yield f"<td>{by}<td>{html.escape(where)}</tr>"
    yield "</table>"


def _precision(rows: Sequence[PrecisionRow]) -> Iterator[str]:
    yield "<h2>The gradient in lower precision</h2><p>Against float64: error relative to the norm, and cosine.</p>"
    yield f"<table><tr><th>tensor<th>norm{''.join(f'<th>{kind}<th>cosine' for kind in TYPES)}</tr>"
    for row in rows:
        cells = ""
        for kind in TYPES:
            error, cosine = row.errors[kind], row.cosines[kind]
            cells += f"<td class='n'>{'zero by theory' if error is None else f'{error:.1e}'}"
            cells += f"<td class='n'>{'' if cosine is None else f'{cosine:.6f}'}"
        yield f"<tr><td>{html.escape(row.name)}<td class='n'>{row.norm:.2e}{cells}</tr>"
    yield "</table>"
