"""The lines of `python gradcheck.py --verbose` as rows of a table, as far as they are there."""

import re
from typing import NamedTuple

TITLE = re.compile(r"^(?P<case>\S.*?) {1,3}[\d,]+(?: of [\d,]+)? coordinates?, [\d.]+ s$")
TENSOR = re.compile(
    r"^  (?P<tensor>\S.*?) +(?P<shape>\d+(?: ?x ?\d+)*) +(?P<exact>\S+) +(?P<rough>\S+) +(?P<taylor>\S+)"
    r"  (?P<verdict>pass|WRONG|wrong|inconclusive)\b"
)


class Row(NamedTuple):
    """What was found of a tensor, as it is printed."""

    case: str
    tensor: str
    shape: str
    exact: str  # largest error of the complex step
    rough: str  # of differences
    taylor: str
    verdict: str


def read_lines(output: str) -> list[Row]:
    """The rows of the tensors; what else is printed is left out."""
    rows, case, before = [], "", ""
    for line in output.splitlines():
        if found := TENSOR.match(line):
            rows.append(Row(case, *found.groups()))
        elif title := TITLE.match(line) or TITLE.match(f"{before} {line.strip()}"):  # a long one is wrapped
            case = title["case"]
        before = line
    return rows
