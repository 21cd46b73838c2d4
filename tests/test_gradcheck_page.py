"""The examples of docs/gradcheck.md can be pasted, and print what the page says."""

import re

import pytest

from tests.tiny_runs import ROOT

pytestmark = pytest.mark.usefixtures("float64")

PAGE = (ROOT / "docs" / "gradcheck.md").read_text(encoding="utf-8")


def figures_apart(text: str) -> str:
    """The text without what depends on the machine: times, and the size of rounding errors."""
    return re.sub(r" +(\d\.\d s|\de-1\d|0)\b", " #", text)


def test_the_examples_can_be_pasted_and_print_what_the_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    part = PAGE[PAGE.index("## For your own layers") : PAGE.index("## Measured")]
    blocks = re.findall(r"^```(python|text)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 5
    names: dict[str, object] = {}
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        exec(compile(code, "docs/gradcheck.md", "exec"), names)
        assert figures_apart(capsys.readouterr().out) == figures_apart(shown)
        assert max(map(len, shown.splitlines())) <= 80
