"""Words for numbers and lists."""

from collections.abc import Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 case`, `2 cases`, `1,000 cases`; `plural` where it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(items: Sequence[str], shown: int, separator: str = ", ") -> str:
    """`a, b, c`, and where there are more than `shown` items: `a, b, c, and 4 more`."""
    rest = len(items) - shown
    return separator.join(items[:shown]) + (f", and {rest:,} more" if rest > 0 else "")
