"""Huge pages: a process begins anew once, and only where it helps."""

import os
import sys
from pathlib import Path

import pytest

from training import huge_pages


class RestartedError(Exception):
    """In place of `os.execv`, which does not return."""


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kernel that gives huge pages to those who ask, a process that has not asked."""

    def execv(program: str, arguments: list[str]) -> None:
        raise RestartedError(program, arguments)

    file = tmp_path / "enabled"
    file.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "ENABLED", file)
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv(huge_pages.VARIABLE, "x")  # so that it is as before when the test is over
    monkeypatch.delenv(huge_pages.VARIABLE)
    return file


def test_it_asks_and_begins_anew_with_the_same_arguments(enabled: Path) -> None:
    with pytest.raises(RestartedError) as restarted:
        huge_pages.restart_with_huge_pages()
    assert restarted.value.args == (sys.executable, [sys.executable, *sys.orig_argv[1:]])
    assert os.environ[huge_pages.VARIABLE] == huge_pages.TUNABLE
    huge_pages.restart_with_huge_pages()  # the new process: once is enough


def test_a_setting_of_the_user_stays(enabled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(huge_pages.VARIABLE, "")
    huge_pages.restart_with_huge_pages()
    assert os.environ[huge_pages.VARIABLE] == ""


@pytest.mark.parametrize("kernel", ["[always] madvise never", "always madvise [never]", None])
def test_where_asking_changes_nothing_it_does_not_ask(enabled: Path, kernel: str | None) -> None:
    enabled.unlink() if kernel is None else enabled.write_text(kernel)
    huge_pages.restart_with_huge_pages()
    assert huge_pages.VARIABLE not in os.environ


def test_other_systems_have_no_such_thing(enabled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    huge_pages.restart_with_huge_pages()
    assert huge_pages.VARIABLE not in os.environ
