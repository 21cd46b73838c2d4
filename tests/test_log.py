"""The log of a run: what the terminal said, without progress bars, and how it ended."""

import io
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from common.errors import UserError
from common.log import logged


def said(path: Path) -> str:
    """Behind the first line, which has date and command."""
    return path.read_text(encoding="utf-8").partition("\n")[2]


def test_both_streams_and_no_progress_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams = sys.stdout, sys.stderr
    with logged(tmp_path / "log.txt", "python train.py demo"):
        print("ümlaut")
        print("a warning", file=sys.stderr)
        print("\rhalf done", end="", file=sys.stderr)
        assert sys.stderr.isatty() == streams[1].isatty()
    assert (sys.stdout, sys.stderr) == streams
    assert capsys.readouterr() == ("ümlaut\n", "a warning\n\rhalf done")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()[0].endswith("  python train.py demo")
    assert said(tmp_path / "log.txt") == "ümlaut\na warning\n"


def test_a_bar_is_on_the_terminal_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with logged(tmp_path / "log.txt", "command"), tqdm(total=2, disable=None, leave=False, ncols=60) as bar:
        bar.update(2)
        bar.refresh()
    assert "100%" in terminal.getvalue()
    assert said(tmp_path / "log.txt") == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("x: wrong\n here"), "error: x: wrong here\n"),
        (OSError(28, "No space left", "f"), "error: f: No space left\n"),
        (KeyboardInterrupt(), "interrupted\n"),
        (ValueError("a bug"), "Traceback"),
    ],
)
def test_the_error_that_ends_it(tmp_path: Path, error: BaseException, told: str) -> None:
    with pytest.raises(type(error)), logged(tmp_path / "log.txt", ""):
        raise error
    assert said(tmp_path / "log.txt").startswith(told)


def test_a_full_disk_does_not_end_what_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.FileIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda path, *_, **__: Full(path, "a"))
    with logged(tmp_path / "log.txt", "command"):
        print("still here")
    assert capsys.readouterr().out == "still here\n"
