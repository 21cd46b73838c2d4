"""The line per minute that a log has in place of a progress bar."""

import pytest

from training import progress_bar
from training.progress_bar import EpochProgress


def lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], later: int, later_seconds: float
) -> list[str]:
    """An epoch of 1,000 images, 200 of them done before, at 10 images/s."""
    now = 0.0
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: now)
    with EpochProgress("epoch 2/3", 1000, 200, later, later_seconds) as shown:
        for _ in range(7):
            now += 10
            shown.advance(100, 2.5)
    return capfd.readouterr().err.splitlines()


def test_time_left_of_the_run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """200 images of the epoch and 1,000 after it take 120 s, and evaluations 30 s more."""
    shown = "epoch 2/3: 80%, loss 2.500, 10 images/s, 0:20 left"
    assert lines(monkeypatch, capfd, 1000, 30.0) == [f"{shown}, run 2:30 left"]
    assert lines(monkeypatch, capfd, 0, 0.0) == [shown]
