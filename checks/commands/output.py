"""What gradcheck.py prints, and the files that it writes: whether they can be written, and writing the reports."""

import argparse
import os
import re
import sys
from collections.abc import Iterable

from checks.page import Report, to_html, to_json
from common.command import BAD_INPUT
from common.files import replace_text

LOUD = re.compile(r"\b(WRONG|SURVIVED)\b")


def show(lines: Iterable[str]) -> None:
    """Print lines now; on a terminal that knows colours, what is wrong is red (NO_COLOR turns that off)."""
    text = "\n".join(lines)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    print(LOUD.sub("\033[1;31m\\1\033[0m", text) if coloured else text, flush=True)


def write_reports(args: argparse.Namespace, report: Report) -> int:
    """Write the files of --json and --html. If one fails, say so, write the other, and return BAD_INPUT."""
    code = 0
    for option, path, text in (("--json", args.json, to_json), ("--html", args.html, to_html)):
        if path is None:
            continue
        try:
            replace_text(path, text(report))
            print(f"report  {path}")
        except OSError as error:
            print(f"error: {option} {path}: not written: {error.strerror}", file=sys.stderr)
            code = BAD_INPUT
    return code
