"""The ladder: its page, table and figure say what its runs have measured."""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.test_book import load_script
from training.config import load_config

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS / "figures")  # for `import svg`, as when it is run
    return load_script(DOCS / "figures" / "ladder.py")


def test_the_page_has_the_numbers_and_the_figure_of_the_runs(ladder: ModuleType) -> None:
    page = (DOCS / "ladder.md").read_text(encoding="utf-8")
    lines = [line for line in ladder.tables().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(ladder.RUNGS) + 2 + len(ladder.STEPS)
    assert [line for line in lines if line not in page] == [], "run python docs/figures/ladder.py"
    assert (DOCS / "figures" / "ladder.svg").read_text(encoding="utf-8") == ladder.draw()


def test_every_rung_was_trained_as_its_preset_says(ladder: ModuleType) -> None:
    runs = ladder.read()
    for name in ladder.LADDER:
        config = load_config(f"ladder_{name}")
        assert len(runs[name]) >= 3
        assert {float(run.learning_rate) for run in runs[name]} == {config.optim.learning_rate}
    for run in (run for of in runs.values() for run in of):
        assert 100 * run.right.mean() == pytest.approx(run.top1, abs=0.006)
        assert len(run.right) == 2000


def test_the_error_of_a_step_is_that_of_pairs(ladder: ModuleType) -> None:
    """Four images: one is won by both seeds, one by one of them, one is lost by one, one stays."""

    def runs(*rights: list[int]) -> list[Any]:
        return [ladder.Run(1, "1", 0.0, 0.0, 100 * np.mean(right), np.array(right)) for right in rights]

    both = {"a": runs([0, 0, 1, 1], [0, 0, 1, 1]), "b": runs([1, 1, 1, 1], [1, 0, 0, 1])}
    step = ladder.step(both, "a", "b")
    assert step.gain == pytest.approx(25)
    differences = [1, 0.5, -0.5, 0]
    assert step.by_images == pytest.approx(100 * np.std(differences, ddof=1) / 2)
    pooled = math.sqrt((0 + 2 * 25**2) / 2)  # of 50, 50 and of 100, 50
    assert ladder.deviation(both) == pytest.approx(pooled)
    assert step.by_seeds == pytest.approx(pooled * math.sqrt(1 / 2 + 1 / 2))
    assert step.error == pytest.approx(math.hypot(step.by_seeds, step.by_images))
