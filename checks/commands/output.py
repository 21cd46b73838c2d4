"""The files that gradcheck.py writes: whether they can be written, and writing the reports."""

import argparse
import sys

from checks.page import Report, to_html, to_json
from common.command import BAD_INPUT
from common.files import replace_text


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
