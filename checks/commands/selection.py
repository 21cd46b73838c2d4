"""What `--only TEXT` selects, and what to say if that is nothing."""

import difflib
import re
from collections.abc import Iterable

from common.errors import UserError

NEAR = 5  # names to suggest at most


def fold(name: str) -> str:
    """A name without capitals, spaces and punctuation: `LayerNorm`, `layer_norm` and `layer norm` are the same."""
    return re.sub(r"[\W_]", "", name.casefold())


def is_selected(text: str, name: str, target: str = "") -> bool:
    """Whether TEXT is in the name of a case, or is its class or function `target`, or one of its tensors, as the report
    prints it (`layer_norm: x`)."""
    wanted = fold(text)
    if not wanted:
        return text in name
    return wanted in fold(name) or (wanted == fold(target) != "") or text.casefold().startswith(f"{name.casefold()}: ")


def nothing_selected(text: str, what: str, names: Iterable[str]) -> UserError:
    """The error if TEXT selects none of `names`, with those that are near to it."""
    known = list(dict.fromkeys(part for name in names for part in (name, name.partition(",")[0]) if part))
    folded = {fold(name): name for name in reversed(known)}
    near = [folded[name] for name in difflib.get_close_matches(fold(text), folded, NEAR)]
    advice = f"near to it: {'; '.join(near)}" if near else "without --only all of them are checked"
    return UserError(f"--only {text}: no {what}; {advice}")
