"""`python -m benchmarks.releases` without installing anything: each release is this Python, and a stand-in measures."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import releases
from benchmarks.backend import SHAPES, Findings, Program
from benchmarks.releases import Release, table
from verify.results import PASS, WRONG

Call = Callable[..., Any]
BACKEND = """
import json, sys
version, verdict, only = "VERSION", "VERDICT", sys.argv[-1]
out = sys.argv[sys.argv.index("--json") + 1]
print("measuring")
row = {"part": "update", "differs": 1.25e-7, "allowed": 1e-6, "verdict": verdict, "diagnosis": ""}
programs = [row | {"shape": shape} for shape in ("demo, 8, float32", "demo, 8, bfloat16") if only in shape]
programs = programs[: 1 if version == "0.10.0" else 2]
found = {"jax": version, "jaxlib": version, "device": "cpu", "programs": programs, "known": {"sums": [1]}}
json.dump(found, open(out, "w"))
"""


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Commands that were run; in place of benchmarks.backend a stand-in, which finds 0.10.2 wrong."""
    ran: list[str] = []
    run = releases.subprocess.run

    def stand_in(command: list[str], **options: Any) -> Any:
        environment = next(part for part in (tmp_path / "all").iterdir() if str(part) in command[0])
        version = environment.name.removeprefix("jax-")
        ran.append(f"{version} {command[-1]}")
        code = BACKEND.replace("VERSION", version).replace("VERDICT", WRONG if version == "0.10.2" else PASS)
        return run([sys.executable, "-c", code, *command[3:]], **options)

    def install(release: Release, environment: Path) -> Path:
        environment.mkdir(exist_ok=True)
        return environment / "bin" / "python"

    monkeypatch.setattr(releases.subprocess, "run", stand_in)
    monkeypatch.setattr(releases, "install", install)
    return ran


def test_a_table_of_all_releases_and_none_is_measured_twice(call: Call, measuring: list[str], tmp_path: Path) -> None:
    ended = call(releases.main, tmp_path / "all", "0.10.0", "0.10.1")
    expected = """
| preset, images, type | part | 0.10.0 | 0.10.1 |
| --- | --- | --- | --- |
| demo, 8, float32 | update | 1.2e-07 | 1.2e-07 |
| demo, 8, bfloat16 | update | - | 1.2e-07 |
| *sums* | not of this project | **wrong** | **wrong** |
"""
    assert (ended.code, ended.out.splitlines()) == (0, [
        "JAX 0.10.0: 1 program of this project, none miscompiled",
        "JAX 0.10.1: 2 programs of this project, none miscompiled", f"table: {tmp_path / 'all' / 'table.md'}",
    ])  # fmt: skip
    assert (tmp_path / "all" / "table.md").read_text() == expected.lstrip()
    assert measuring == ["0.10.0 ", "0.10.1 "]
    ended = call(releases.main, tmp_path / "all", "0.10.1", "0.10.2")
    assert (ended.code, ended.out.splitlines()[1]) == (1, "JAX 0.10.2: 2 programs of this project, 2 miscompiled")
    assert measuring[2:] == ["0.10.2 "]
    ended = call(releases.main, tmp_path / "all", "0.10.1", "--only", "bfloat16")
    rows = (tmp_path / "all" / "table.md").read_text().splitlines()[2:]
    assert rows == ["| demo, 8, bfloat16 | update | 1.2e-07 |", "| *sums* | not of this project | **wrong** |"]
    assert measuring[3:] == ["0.10.1 bfloat16"]
    (tmp_path / "all" / "jax-0.10.1.json").write_text('{"jax": ')
    ended = call(releases.main, tmp_path / "all", "0.10.1")
    assert (ended.code, ended.out) == (2, "")
    assert "jax-0.10.1.json: damaged or cut short" in ended.err


def test_what_cannot_be_installed_is_one_message(call: Call, tmp_path: Path) -> None:
    ended = call(releases.main, tmp_path, "no-such-python:0.10.2")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines()[-1].endswith("no-such-python: cannot be run: No such file or directory")


def test_a_measurement_that_does_not_end_is_one_message(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "install", lambda release, environment: "false")
    ended = call(releases.main, tmp_path, "0.10.2")
    assert (ended.code, ended.out) == (2, "")
    assert "JAX 0.10.2: benchmarks.backend ended without a result" in ended.err


@pytest.mark.parametrize("text", ["", "python3.13:", "0.10;2", "-r"])
def test_what_is_no_release(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        releases.main([str(tmp_path), text])
    assert "RELEASE" in capsys.readouterr().err


def test_a_program_that_is_wrong_in_one_release_says_so() -> None:
    program = Program("demo, 8, float32", "update", 0.5, 1e-6, WRONG, "")
    found = {Release("1.0", sys.executable): Findings("1.0", "1.0", "cpu", [program], {})}
    assert table(found).splitlines()[2] == "| demo, 8, float32 | update | **wrong** |"


def test_no_two_programs_have_the_same_name() -> None:
    names = [(shape.name, part) for shape in SHAPES for part in shape.parts]
    assert len(names) == len(set(names))
    assert max(len(name) for name, _ in names) <= 31, "the width of the column"
