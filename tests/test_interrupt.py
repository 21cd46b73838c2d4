"""Ctrl-C while something compiles: seen at once, true at that moment, and the second one ends the process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from common import interrupt
from common.command import run_command
from common.interrupt import StopRequest
from tests.tiny_runs import ROOT


def test_a_second_ctrl_c_does_not_wait_for_the_compiler(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left: list[str] = []
    monkeypatch.setattr(interrupt, "_leave", left.append)  # which ends the process

    def compile_slowly() -> str:
        for presses in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            while stop.signal is None or len(left) < presses - 1:
                time.sleep(0.001)
        return "program"

    with StopRequest("the step is finished") as stop, pytest.raises(KeyboardInterrupt):
        stop.compiling(compile_slowly)
    assert left == ["interrupted"]
    assert capfd.readouterr().err.startswith("\nstopping: the compilation ends first\n")


def test_behind_the_compilation_something_else_comes_first(capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest("the step is finished") as stop:
        assert stop.compiling(lambda: "program") == "program"
        with pytest.raises(ValueError, match="a bug"):
            stop.compiling(lambda: int("a bug"))
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal == signal.SIGINT
    assert capfd.readouterr().err.startswith("\nstopping: the step is finished\n")


@pytest.mark.parametrize(("before", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_is_a_request_to_stop_but_not_under_nohup(before: signal.Handlers, stops: bool) -> None:
    restored = signal.signal(signal.SIGHUP, before)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal == (signal.SIGHUP if stops else None)
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, restored)


def test_what_is_printed_on_a_closed_terminal_is_dropped(tmp_path: Path) -> None:
    """The process goes on to save. With a real terminal, whose other end is closed."""
    program = f"""
import time
from pathlib import Path
from common.command import run_command
from common.interrupt import StopRequest
from tests.tiny_runs import ROOT

def main(argv):
    with StopRequest() as stop:
        print("began", flush=True)
        while stop.signal is None:
            print("step", flush=True)
            time.sleep(0.01)
        print("saving", flush=True)
        Path({str(tmp_path / "saved")!r}).write_text(str(stop.signal))
    return 128 + stop.signal

raise SystemExit(run_command(main, []))
"""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{program}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        assert os.read(ours, 5) == b"began"
        os.close(ours)
        try:
            assert process.wait(timeout=30) == 128 + signal.SIGHUP
        finally:
            process.kill()
    assert (tmp_path / "saved").read_text() == str(signal.SIGHUP)


@pytest.mark.parametrize(
    "command", ["train.py", "evaluate.py", "predict.py", "gradcheck.py", "-m training.preview", "-m exercises"]
)
def test_ctrl_c_while_a_command_is_imported_prints_no_traceback(command: str, tmp_path: Path) -> None:
    """A package that is imported early interrupts the process, as Ctrl-C would at that moment."""
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, *command.split()], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


def test_within_a_command_ctrl_c_is_an_exception_again() -> None:
    def main(argv: Sequence[str]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    before = signal.signal(signal.SIGINT, lambda *_: pytest.fail("what vit_environment has set"))
    try:
        assert run_command(main, []) == 130
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
