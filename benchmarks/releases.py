"""Is the compiler of each release right? `python -m benchmarks.backend` with several releases of JAX, in one table.

    python -m benchmarks.releases FOLDER 0.10.0 0.10.1 0.10.2 python3.13:0.12.0.1 [--only TEXT]

A release is a version of JAX, which is installed for this Python, or after `PYTHON:` for another one. Each gets an
environment of its own in FOLDER, with what requirements.txt asks for besides, and its findings are kept there, too: a
release that was done is not done again unless its file is removed, and one that was interrupted begins anew.
FOLDER/table.md is a table in Markdown: for each program the largest difference from its operations one by one,
relative to the largest number of its tensor.

Exit code: 0 no program of this project is miscompiled by any of the releases, 1 one is.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.backend import Findings, tally
from common.command import run_command
from common.documents import read_json
from common.errors import UserError
from common.files import replace_text
from common.paths import named_path
from verify.results import PASS

ROOT = Path(__file__).parent.parent
RIGHT, WRONG, NOT_RUN = "right", "**wrong**", "-"


class Release(NamedTuple):
    """A version of JAX, and the command of the Python that it is installed for."""

    version: str
    python: str

    @property
    def name(self) -> str:
        return f"jax-{self.version}" + ("" if self.python == sys.executable else f"-{Path(self.python).name}")


def main(argv: Sequence[str]) -> int:
    args = parse_arguments(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    found = {release: examine(release, args.folder, args.only) for release in args.releases}
    replace_text(args.folder / "table.md", table(found))
    for release, findings in found.items():
        print(f"JAX {release.version}: {tally(findings.programs)}")
    print(f"table: {args.folder / 'table.md'}")
    verdicts = [program.verdict for findings in found.values() for program in findings.programs]
    return 0 if verdicts == [PASS] * len(verdicts) else 1


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.releases", description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=named_path, help="for the environments and the findings")
    parser.add_argument("releases", metavar="RELEASE", nargs="+", type=release, help="VERSION, or PYTHON:VERSION")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the programs whose name contains TEXT")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def release(text: str) -> Release:
    """`0.10.2` or `python3.13:0.12.0.1`."""
    python, _, version = text.rpartition(":")
    if not version or not all(part.isalnum() for part in version.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0.10.2 or python3.13:0.12.0.1")
    return Release(version, python or sys.executable)


def examine(release: Release, folder: Path, only: str) -> Findings:
    """What `benchmarks.backend --json` finds with a release; read from its file if that is there.

    Raises:
        UserError: the release could not be installed, or the benchmark did not end, or its file is damaged.
    """
    report = folder / f"{release.name}{'-' if only else ''}{only.replace('/', '-')}.json"
    if report.exists():
        print(f"JAX {release.version}: done before, {report}", file=sys.stderr, flush=True)
    else:
        python = install(release, folder / release.name)
        print(f"JAX {release.version} ...", file=sys.stderr, flush=True)
        command = [str(python), "-m", "benchmarks.backend", "--device", "cpu", "--json", str(report.absolute())]
        subprocess.run([*command, "--only", only], cwd=ROOT, stdout=sys.stderr, check=False)
        if not report.exists():
            raise UserError(f"JAX {release.version}: benchmarks.backend ended without a result; what it said is above")
    findings: Findings = read_json(report, Findings, finite=False)
    return findings


def install(release: Release, environment: Path) -> Path:
    """The Python of an environment with this release, made if it is not there.

    Raises:
        UserError: it could not be made.
    """
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    complete = environment / "complete"
    if not complete.exists():
        print(f"JAX {release.version}: installing it for {release.python} ...", file=sys.stderr, flush=True)
        wanted = [f"jax=={release.version}", "-r", str(ROOT / "requirements.txt")]
        _run([release.python, "-m", "venv", "--clear", str(environment)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
        complete.touch()
    return python


def _run(command: Sequence[str]) -> None:
    try:
        ended = subprocess.run(command, stdout=sys.stderr, check=False)
    except OSError as error:
        raise UserError(f"{command[0]}: cannot be run: {error.strerror}") from None
    if ended.returncode:
        raise UserError(f"{' '.join(command)}: ended with {ended.returncode}; what it said is above")


def table(found: dict[Release, Findings]) -> str:
    """The findings in Markdown, a column for each release. Programs that not all have run have a dash."""
    lines: dict[tuple[str, str], dict[Release, str]] = {}
    for release, findings in found.items():
        for program in findings.programs:
            cell = f"{program.differs:.1e}" if program.verdict == PASS else WRONG
            lines.setdefault((program.shape, program.part), {})[release] = cell
    for release, findings in found.items():
        for name, wrong in findings.known.items():
            lines.setdefault((f"*{name}*", "not of this project"), {})[release] = WRONG if wrong else RIGHT
    titles = ["preset, images, type", "part", *(release.name.removeprefix("jax-") for release in found)]
    rows = [[*key, *(cells.get(release, NOT_RUN) for release in found)] for key, cells in lines.items()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [titles, ["---"] * len(titles), *rows])


if __name__ == "__main__":
    sys.exit(run_command(main))
