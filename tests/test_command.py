"""How a command ends: exit codes, one line for what the user can mend, a traceback for what is ours."""

import argparse
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import evaluate
import gradcheck
import predict
import train
from benchmarks import decode, parity, step
from benchmarks.faults import __main__ as faults
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import complex_step
from common.command import run_command
from common.errors import CheckpointError, ConfigError, DataError, UserError
from common.text import counted
from data import inspect, split
from training import runs, tensorboard
from training.weights import __main__ as weights

ROOT = Path(__file__).resolve().parent.parent


def raising(error: BaseException) -> Callable[[Sequence[str]], int | None]:
    def main(argv: Sequence[str]) -> int | None:
        raise error

    return main


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_exit_code_of_main(returned: int | None, code: int) -> None:
    assert run_command(lambda argv: returned, []) == code


def test_main_receives_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []
    monkeypatch.setattr(sys, "argv", ["train.py", "--preset", "demo"])
    run_command(seen.append)
    run_command(seen.append, ["a"])
    assert seen == [["--preset", "demo"], ["a"]]


@pytest.mark.parametrize("kind", [UserError, ConfigError, CheckpointError, DataError])
def test_bad_input_is_one_line(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(kind("x.yml: wrong\n  in two lines")), []) == 2
    assert capsys.readouterr().err == "error: x.yml: wrong in two lines\n"


def test_a_line_feed_in_a_name_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (UserError("a\nb\t: missing"), OSError(2, "missing", "a\nb\t")):
        assert run_command(raising(error), []) == 2
        assert capsys.readouterr().err == "error: a\\nb\\t: missing\n"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda argv: print((tmp_path / "none.yml").read_text()), []) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'none.yml'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "runs/a/last.npz"), "runs/a/last.npz: No space left on device"),
        (PermissionError(13, "Permission denied", "runs"), "runs: Permission denied"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError("without a number"), "without a number"),
        (OSError(), "OSError"),
    ],
)
def test_errors_of_the_system(error: OSError, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(error), []) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("error", [UserError("bad"), DataError("bad"), OSError(28, "full", "x")])
def test_debug_keeps_the_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error), ["--debug"])


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), AssertionError()])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error), [])


def test_numbers_of_things() -> None:
    assert [counted(number, "case") for number in (0, 1, 2, 1000)] == ["0 cases", "1 case", "2 cases", "1,000 cases"]
    assert [counted(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]


def test_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_arguments_that_argparse_refuses_exit_alike() -> None:
    def main(argv: Sequence[str]) -> None:
        argparse.ArgumentParser().parse_args(argv)

    with pytest.raises(SystemExit) as caught:
        run_command(main, ["--unknown"])
    assert caught.value.code == 2


def test_another_pipe_that_breaks_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(BrokenPipeError(32, "Broken pipe")), []) == 2
    assert capsys.readouterr().err == "error: [Errno 32] Broken pipe\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 100_000])  # met at the last flush, and in the middle of printing
def test_a_reader_who_has_gone_is_no_error(lines: int, unbuffered: str) -> None:
    program = f"""
        import sys
        from common.command import run_command

        def main(argv):
            sys.stdin.read()  # until the reader has gone
            for line in range({lines}):
                print("line", line)

        sys.exit(run_command(main, []))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def export_or_import(command: str) -> Callable[[Sequence[str]], object]:
    def main(argv: Sequence[str]) -> object:
        return weights.main([command, *argv])

    main.__name__ = command
    return main


@pytest.mark.parametrize(
    "main",
    [
        train.main,
        evaluate.main,
        predict.main,
        gradcheck.main,
        faults.main,
        gpu.main,
        complex_step.main,
        step.main,
        decode.main,
        parity.main,
        inspect.main,
        split.main,
        runs.main,
        export_or_import("export"),
        export_or_import("import"),
        tensorboard.main,
    ],
    ids=lambda main: f"{main.__module__} {main.__name__}",
)
def test_help_fits_80_columns(
    main: Callable[[Sequence[str]], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 80, max(lines, key=len)
