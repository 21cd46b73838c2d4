"""Standard output and error: closed, full, of an encoding with few characters; and what must not reach a terminal."""

import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from common.command import run_command
from common.errors import UserError
from common.streams import SafeStream, printable, shortened
from tests.tiny_runs import ROOT

NASTY = "cat\x1b[2J\x1b]0;title\x07\r\u202egod\x9b1m"
HARMLESS = r"cat\x1b[2J\x1b]0;title\x07\r\u202egod\x9b1m"


def shell(command: str, program: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command in which PYTHON stands for the interpreter, and PROGRAM for a main function with this body."""
    text = "import sys\nfrom common.command import run_command\ndef main(argv):\n"
    text += textwrap.indent(textwrap.dedent(program) or "pass", "    ") + "\nsys.exit(run_command(main, []))\n"
    command = command.replace("PYTHON", sys.executable).replace("PROGRAM", '-c "$PROGRAM"')
    environment = os.environ | {"PROGRAM": text, **environment}
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, timeout=60)


# Encodings.


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_encoding_lacks_is_escaped_and_the_command_goes_on(encoding: str) -> None:
    ended = shell("PYTHON PROGRAM", r"print('Käse \u2260 \udcff 猫'); print('1 ± 2')", PYTHONIOENCODING=encoding)
    first = {
        "ascii": r"K\xe4se \u2260 \udcff \u732b",
        "latin-1": r"Käse \u2260 \udcff \u732b",
        "utf-8": r"Käse ≠ \udcff 猫",
    }
    assert ended.returncode == 0
    assert ended.stdout.decode(encoding) == f"{first[encoding]}\n1 {'+-' if encoding == 'ascii' else '±'} 2\n"


def test_an_error_in_another_alphabet_is_one_line() -> None:
    ended = shell(
        "PYTHON PROGRAM", "from common.errors import UserError; raise UserError('≠')", PYTHONIOENCODING="ascii"
    )
    assert (ended.returncode, ended.stderr) == (2, b"error: \\u2260\n")


# Closed, full, gone.


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_change_no_exit_code_and_no_file(closed: str, tmp_path: Path) -> None:
    program = """
        import vit_environment
        vit_environment.open_streams()
        with open("FILE", "w") as file:
            print("to the output", flush=True)
            print("to the error", file=sys.stderr, flush=True)
            file.write("to the file")
    """.replace("FILE", str(tmp_path / "file"))
    ended = shell(f"PYTHON PROGRAM {closed}", program)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "file").read_text() == "to the file"
    failing = "from common.errors import UserError; raise UserError('wrong')"
    assert shell(f"PYTHON PROGRAM {closed}", failing).returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_real_command_with_closed_streams(closed: str) -> None:
    assert shell(f"PYTHON -m data.preview {closed}").returncode == 2
    assert b"Traceback" not in shell(f"PYTHON -m data.preview {closed}").stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("option", ["", "-u"])
def test_a_full_disk_under_the_output_is_one_line_that_names_it(option: str) -> None:
    ended = shell(f"PYTHON {option} PROGRAM > /dev/full", "print('text')")
    assert (ended.returncode, ended.stderr) == (2, b"error: standard output: No space left on device\n")
    assert shell(f"PYTHON {option} PROGRAM 2> /dev/full", "print('text', file=sys.stderr, flush=True)").returncode == 2


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_who_leaves_ends_the_command_silently(stream: str) -> None:
    program = f"for i in range(20000): print('line', i, file=sys.{stream})"
    redirect = "2>&1 >/dev/null" if stream == "stderr" else ""
    ended = shell(f"PYTHON PROGRAM {redirect} | head -1; echo ${{PIPESTATUS[0]}}", program)
    assert (ended.stdout, ended.stderr) == (b"line 0\n141\n", b"")


# What must not reach a terminal.


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable(NASTY) == HARMLESS
    assert printable("tab\tand line\nstay, as do ± 猫 \u200d é") == "tab\tand line\nstay, as do ± 猫 \u200d é"


@pytest.mark.parametrize(
    "main",
    [
        lambda argv: print(NASTY),
        lambda argv: print(f"warning: {NASTY}", file=sys.stderr),
        lambda argv: sys.stdout.writelines([NASTY]),
    ],
)
def test_no_command_prints_them(main: Callable[[Sequence[str]], None], capsys: pytest.CaptureFixture[str]) -> None:
    run_command(main, [])
    out, err = capsys.readouterr()
    assert HARMLESS in out + err
    assert not {"\x1b", "\r"} & {*out, *err}


def test_an_error_message_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> None:
        raise UserError(f"{NASTY}: no such class")

    assert run_command(main, []) == 2
    assert "\x1b" not in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_and_bars_but_nothing_else() -> None:
    for name, text, shown in (
        ("standard output", "\x1b[1;31mWRONG\x1b[0m\x1b[2J\r", "\x1b[1;31mWRONG\x1b[0m\\x1b[2J\\r"),
        ("standard error", "\r 50%\r\x1b[8m", "\r 50%\\r\\x1b[8m"),
        ("standard error", "\x1b[A\x1b[A", "\x1b[A\x1b[A"),
    ):
        terminal = Terminal()
        SafeStream(terminal, name).write(text)
        assert terminal.getvalue() == shown


def test_what_is_echoed_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> None:
        raise UserError(f"{'x' * 100_000}=1: there is no such option")

    run_command(main, [])
    err = capsys.readouterr().err
    assert len(err) < 500
    assert err.startswith("error: xxxx")
    assert err.endswith("xx=1: there is no such option\n")
    assert len(shortened("word " * 100_000)) < 4100
    assert shortened("a message\nof usual length") == "a message\nof usual length"
