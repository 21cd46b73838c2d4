"""docs/teaching.md and the numbers of exercises on other pages against the exercises themselves."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from exercises.machinery.items import ITEMS
from exercises.machinery.vit_exercise import NEEDED

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
CHAPTERS = sorted((ROOT / "docs" / "book").glob("*.md"))


def plan(heading: str) -> list[tuple[set[int], list[str], list[str], float, float]]:
    """The weeks: chapters, exercises, their levels, hours of reading and hours of exercises."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    weeks = []
    for row in re.findall(r"^\| \d+ \|(.*)\|$", section, re.M):
        chapters, exercises, reading, writing = (cell.strip() for cell in row.split("|"))
        named = re.findall(r"`(\w+)` (\d)", exercises)
        weeks.append(
            (
                {int(number) for number in re.findall(r"\d+", chapters)},
                [name for name, _ in named],
                [level for _, level in named],
                float(reading),
                float(writing),
            )
        )
    return weeks


@pytest.mark.parametrize(("heading", "count"), [("Twelve weeks", 12), ("Six weeks", 6)])
def test_a_plan_has_exercises_of_its_chapters_with_their_levels_and_hours(heading: str, count: int) -> None:
    weeks = plan(heading)
    assert len(weeks) == count
    read: set[int] = set()
    named: list[str] = []
    for chapters, exercises, levels, _, hours in weeks:
        read |= chapters
        items = [ITEMS[name] for name in exercises]
        assert all(item.place and item.place.chapter in read for item in items), exercises
        assert levels == [str(item.effort.level) for item in items]
        assert hours == pytest.approx(sum(item.effort.minutes for item in items) / 60, abs=0.07)
        named += exercises
    assert len(named) == len(set(named))
    assert set(NEEDED) <= set(named)
    assert "vit" in named


def test_the_long_plan_has_everything_that_is_not_optional() -> None:
    weeks = plan("Twelve weeks")
    assert set().union(*(week[0] for week in weeks)) == {int(page.stem[:2]) for page in CHAPTERS} - {16}
    assert {name for week in weeks for name in week[1]} == ITEMS.keys() - {"muon"}


@pytest.mark.parametrize("heading", ["Twelve weeks", "Six weeks"])
def test_hours_of_reading_are_two_for_3000_words(heading: str) -> None:
    words = {
        int(page.stem[:2]): len(re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).split())
        for page in CHAPTERS
    }
    read: set[int] = set()
    for chapters, _, _, hours, _ in plan(heading):
        assert hours == pytest.approx(sum(words[chapter] for chapter in chapters - read) / 1500, abs=1)
        read |= chapters
    text = re.search(r"about (\d+) hours of reading and (\d+)", PAGE.partition(f"\n## {heading}\n")[2], re.I)
    assert text
    assert int(text[1]) == pytest.approx(sum(week[3] for week in plan(heading)), abs=1.5)
    assert int(text[2]) == pytest.approx(sum(week[4] for week in plan(heading)), abs=1.5)


def test_the_example_of_grading_runs_and_counts_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert script
    exercise = {"minutes": 10, "autodiff": []}
    exercises = [
        {**exercise, "state": "passed", "parts": {"dx": True}},
        {**exercise, "state": "wrong", "parts": {"dx": True, "dW": False}},
        {**exercise, "state": "to do", "parts": {"dx": False}},
        {**exercise, "state": "passed", "parts": {"dx": True}, "autodiff": ["jax.vjp"]},
    ]
    file = tmp_path / "ada.json"
    file.write_text(json.dumps({"exercises": exercises}))
    monkeypatch.setattr("sys.argv", ["grade.py", str(file)])
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(script[1], "teaching.md", "exec"), {})
    assert printed.getvalue() == f"{file}: 31%\n"


@pytest.mark.parametrize("page", ["README.md", "docs/exercises.md"])
def test_the_number_of_exercises_is_that_of_the_list(page: str) -> None:
    numbers = re.findall(r"(\d+) exercises", (ROOT / page).read_text(encoding="utf-8"))
    assert numbers == [str(len(ITEMS))]


def test_every_chapter_that_derives_something_names_exercises() -> None:
    named = {item.place.page for item in ITEMS.values() if item.place}
    assert named == {page.name for page in CHAPTERS[1:]}
