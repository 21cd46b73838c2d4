"""The result of a check."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """The result of a check, and the lines to print.

    Attributes:
        state: whether it passed; "to do" if nothing was written, or what was written is unfinished and right so far.
        lines: for the reader.
        parts: what the exercise asks for by name, such as `dx`, and whether it is right; in their order.
        checkpoints: the same of the gradients on the way back that the reader has named, in the order of the lines.
    """

    state: Literal["passed", "to do", "wrong"]
    lines: tuple[str, ...] = ()
    parts: dict[str, bool] = field(default_factory=dict, compare=False)
    checkpoints: dict[str, bool] = field(default_factory=dict, compare=False)
