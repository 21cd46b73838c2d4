"""The ratio of a wrong gradient to the right one, in words: "sign flipped", "scaled by 1/sqrt(K)"."""

import itertools
import math
from collections.abc import Iterator, Mapping

CLOSE = 1e-6  # relative: two numbers so close are the same


def name_factor(ratio: float, sizes: Mapping[str, float]) -> str:
    """`ratio` in words, in terms of the sizes of the case."""
    if math.isclose(ratio, -1, rel_tol=CLOSE):
        return "sign flipped"
    if abs(ratio - 1) < 1e-3:
        return f"nearly right, off by a share of {ratio - 1:.2g} everywhere"
    sign = "sign flipped and " if ratio < 0 else ""
    names = [name for name, value in _factors(sizes) if math.isclose(abs(ratio), value, rel_tol=CLOSE)]
    if not names:
        return f"{sign}scaled by {abs(ratio):.6g}, which is no size of this case"
    return f"{sign}scaled by {' = '.join(dict.fromkeys(names[:3]))}"


def _factors(sizes: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """The factors that have a name, simple ones first."""
    yield from (("2", 2.0), ("1/2", 0.5))
    for name, value in sizes.items():
        yield from ((name, value), (f"1/{name}", 1 / value))
    for name, value in sizes.items():
        yield from ((f"sqrt({name})", math.sqrt(value)), (f"1/sqrt({name})", 1 / math.sqrt(value)))
    letters = {name: value for name, value in sizes.items() if name != "rows"}
    for (first, x), (second, y) in itertools.combinations(letters.items(), 2):
        yield from ((f"{first} {second}", x * y), (f"1/({first} {second})", 1 / (x * y)))
        yield from ((f"{first}/{second}", x / y), (f"{second}/{first}", y / x))
    for name, value in sizes.items():
        if value > 1:
            yield from ((f"({name} - 1)/{name}", (value - 1) / value), (f"{name}/({name} - 1)", value / (value - 1)))
            yield from ((f"{name}/({name} + 1)", value / (value + 1)), (f"({name} + 1)/{name}", (value + 1) / value))
