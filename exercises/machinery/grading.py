"""The result of a check as one JSON document, for a script that grades.

    {"folder": "submissions/ada", "passed": 1, "of": 44, "exercises": [
      {"name": "softmax", "chapter": 5, "level": 2, "minutes": 30, "state": "wrong",
       "parts": {"dscores": false}, "checkpoints": {}, "first_failure": "dscores: ...",
       "messages": ["dscores: ...", ...], "autodiff": []}, ...]}

`state` is "passed", "wrong" or "to do". `parts` are what the exercise asks for, each with whether it is right; where a
file is missing or does not run, nothing is. `checkpoints` are the gradients on the way back that the file names, in the
order of its lines. `first_failure` is the first of the `messages`, which are what `check` prints, or null. `autodiff`
lists what the file takes from JAX to have a gradient computed: a pass by that is no derivation. For a fault to find any
means is right, and the list is empty.
"""

import contextlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from exercises.machinery.items import Item
from exercises.machinery.sources import autodiff


def graded(folder: Path, items: Mapping[str, Item], names: Iterable[str], reveal: bool = False) -> dict[str, Any]:
    """The document for these exercises. What the checked files print goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        exercises = [_graded(folder / f"{name}.py", items[name], reveal) for name in names]
    passed = sum(exercise["state"] == "passed" for exercise in exercises)
    return {"folder": str(folder), "passed": passed, "of": len(exercises), "exercises": exercises}


def _graded(path: Path, item: Item, reveal: bool) -> dict[str, Any]:
    outcome = item.check(path, reveal, True)
    failed = outcome.state != "passed" and outcome.lines
    return {
        "name": path.stem,
        "chapter": item.place.chapter if item.place else None,
        "level": item.effort.level,
        "minutes": item.effort.minutes,
        "state": outcome.state,
        "parts": outcome.parts,
        "checkpoints": outcome.checkpoints,
        "first_failure": outcome.lines[0] if failed else None,
        "messages": list(outcome.lines),
        "autodiff": autodiff(path) if item.derives else [],
    }
