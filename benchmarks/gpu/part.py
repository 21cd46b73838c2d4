"""What a part is: a command in a process of its own, a time limit, and a way to read its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]
"""What was measured: numbers and texts by name, or such dictionaries by the name of a line of a table."""

OK, FAILED, TIMED_OUT, MISSING, SKIPPED = "ok", "failed", "timed out", "missing package", "no time left"


@dataclass(frozen=True)
class Part:
    """A part of the script, as data.

    Attributes:
        stage: "check", "speed" or "train".
        name: unique; its folder below the output has this name.
        command: arguments of Python. In each, {out} is the part's folder, {shared} one for all parts, {archives} that
            of --archives, {seconds} four fifths of the time that it is given without `start`, and {minutes} the same.
        limit: seconds after which it is stopped.
        read: from its folder and its standard output to what was measured.
        needs: packages without which it is not started.
        environment: variables that it has beside those of all parts.
        needs_archives: it is started only with --archives.
        start: seconds that it needs to load and compile before its {seconds} begin.
        stretches: it may also use the time that other parts have left over.
    """

    stage: str
    name: str
    command: tuple[str, ...]
    limit: float
    read: Callable[[Path, str], Values]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_archives: bool = False
    start: float = 0.0
    stretches: bool = False


@dataclass
class Result:
    """What became of a part."""

    stage: str
    name: str
    status: str
    why: str = ""  # where the status is not OK
    command: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    granted: float = 0.0  # seconds that it was given
    values: Values = field(default_factory=dict)
