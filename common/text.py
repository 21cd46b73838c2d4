"""Text for a terminal: words for numbers and lists, and lines of a certain width."""

import unicodedata
from collections.abc import Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 case`, `2 cases`, `1,000 cases`; `plural` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(items: Sequence[str], shown: int, separator: str = ", ", counts: Sequence[int] | None = None) -> str:
    """`a, b, c`, and where there are more than `shown` items: `a, b, c, and 4 more`.

    `counts` says for how many an item stands, if not for one: then so many more are told.
    """
    rest = sum(counts[shown:]) if counts else len(items) - shown
    return separator.join(items[:shown]) + (f", and {rest:,} more" if rest > 0 else "")


def shorten(text: str, width: int) -> str:
    """At most `width` letters: where there are more, the end is left out."""
    return text if len(text) <= width else f"{text[: width - 2]}.."


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: two for a wide letter, as of Chinese, none for an accent."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def in_columns(text: str, width: int, *, keep_end: bool = False) -> str:
    """The text in exactly `width` columns: filled with spaces, or without its end; with `keep_end`, its beginning."""
    if columns(text) > width:
        while columns(text) > width - 2:
            text = text[1:] if keep_end else text[:-1]
        text = f"..{text}" if keep_end else f"{text}.."
    return text + " " * (width - columns(text))
