"""The reader's progress, in a small file beside the exercises."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from common.documents import read_json
from common.errors import DamagedError, UserError
from common.files import replace_text

NAME = ".progress.json"


@dataclass
class Saved:
    """What the file holds."""

    passed: list[str]
    hints: dict[str, int]

    def __post_init__(self) -> None:
        """Raises ValueError for what was never shown."""
        if any(count < 1 for count in self.hints.values()):
            raise ValueError("hints are counted from 1")


@dataclass
class Progress:
    """The exercises that passed their last check, and how many hints of each were shown."""

    path: Path
    passed: list[str] = field(default_factory=list)
    hints: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """Read the progress file of the folder; without one, no progress.

        Raises:
            UserError: the file is damaged.
        """
        path = folder / NAME
        if not path.exists():
            return cls(path)
        try:
            saved: Saved = read_json(path, Saved)
        except DamagedError:
            raise UserError(f"{path} is damaged: delete it, then run python -m exercises check") from None
        return cls(path, saved.passed, saved.hints)

    def record(self, name: str, passed: bool) -> None:
        """Record the result of a check."""
        if passed != (name in self.passed):
            self.passed = [*self.passed, name] if passed else [n for n in self.passed if n != name]
            self._save()

    def next_hint(self, name: str, available: int) -> int:
        """The number of the hint to show, from 1; the last one stays."""
        self.hints[name] = min(self.hints.get(name, 0) + 1, available)
        self._save()
        return self.hints[name]

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # a hint may come before the first exercise is started
        replace_text(self.path, json.dumps({"passed": self.passed, "hints": self.hints}, indent=1) + "\n")
