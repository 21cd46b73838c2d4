"""Ctrl-C while something compiles: seen at once, true at that moment, and the second one ends the process."""

import os
import signal
import time

import pytest

from common import interrupt
from common.interrupt import StopRequest


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
