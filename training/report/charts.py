"""Charts of a report as SVG text in the colours of its style: lines, a matrix of confusions, a cloud of points."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.page import escape
from common.text import shorten

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 14, 44
DOTS = 60  # points of a line, at most, that are marked
COUNTED = 24  # classes, at most, whose counts are written into the matrix
CELL = 10  # units of a class in a larger matrix
NAME = 18  # letters of a name beside the matrix
LEVELS = 12  # of a colour in the matrix
CLOUD = 520, 480  # units of the cloud of points
WORD = 110, 18  # units that a name takes in it
FAINT = 0.15  # the opacity of a share of almost nothing

Point = tuple[float, float]


class Line(NamedTuple):
    name: str
    points: Sequence[Point]
    kind: str  # a class of the style: its colour and dashes


def line_chart(
    lines: Sequence[Line], *, label: str, x: str, y: str, percent: bool = False, mark: float | None = None,
    limits: tuple[float, float, float, float] | None = None,
) -> str:  # fmt: skip
    """Lines over linear axes, with a legend below; points that are no numbers are left out. `mark` is a place on x.

    `label` is read out in place of the picture. `limits` are (left, right, bottom, top); by
    default those of the points.
    """
    kept = [Line(name, [p for p in points if all(map(math.isfinite, p))], kind) for name, points, kind in lines]
    kept = [line for line in kept if line.points]
    places = [point for line in kept for point in line.points]
    if not places:
        return ""
    left, right, low, high = limits or _limits(places)
    ticks_x, ticks_y = _ticks(left, right, 6), _ticks(low, high, 5, limits is None)
    low, high = min(low, ticks_y[0]), max(high, ticks_y[-1])

    digits = max(0, -math.floor(math.log10(ticks_y[1] - ticks_y[0]) + 1e-9) - 2) if len(ticks_y) > 1 else 0

    def at(point: Point) -> tuple[str, str]:
        across = (point[0] - left) / (right - left)
        up = (point[1] - low) / (high - low)
        return f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f}", f"{HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for tick in ticks_y:
        _, up = at((left, tick))
        said = f"{tick:.{digits}%}" if percent else f"{tick:g}"
        parts.append(f'<path class="grid" d="M{LEFT} {up}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{float(up) + 4:.1f}" text-anchor="end">{said}</text>')
    for tick in ticks_x:
        across, _ = at((tick, low))
        said = f"{tick:g}"
        parts.append(f'<text class="tick" x="{across}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{said}</text>')
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{x}</text>'
        f'<text class="axis" transform="translate(12 {(HEIGHT - BOTTOM + TOP) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{y}</text>'
    )
    if mark is not None and left <= mark <= right:
        parts.append(f'<path class="mark" d="M{at((mark, low))[0]} {TOP}V{HEIGHT - BOTTOM}"/>')
    for line in kept:
        path = " ".join(",".join(at(point)) for point in line.points)
        parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
        if len(line.points) <= DOTS:
            for point in line.points:
                across, up = at(point)
                said = f"{line.name}: {point[1]:.2%}" if percent else f"{line.name}: {point[1]:.4g}"
                parts.append(
                    f'<circle class="dot {line.kind}" cx="{across}" cy="{up}" r="3">'
                    f"<title>{escape(f'{said} at {point[0]:.3g}')}</title></circle>"
                )
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 28 8" aria-hidden="true"><path class="line {line.kind}" d="M1 4H27"/>'
        f"</svg>{escape(line.name)}</span>"
        for line in kept
    )
    return "\n".join([*parts, f'</svg><p class="keys">{keys}</p>'])


def _limits(places: Sequence[Point]) -> tuple[float, float, float, float]:
    xs, ys = [x for x, _ in places], [y for _, y in places]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if right <= left:
        left, right = 0.0, 2 * right or 1.0
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return left, right, low, high


def _ticks(low: float, high: float, most: int, beyond: bool = False) -> list[float]:
    """Round numbers from `low` to `high`, with `beyond` from the last one before to the first one after these."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if beyond:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    else:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def matrix(confusion: np.ndarray, names: Sequence[str]) -> str:
    """A matrix of counts in colours, label down and prediction across: small ones with names and counts.

    A cell is the stronger, the larger its share of the images of its label. What is right has another colour.
    """
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    said = f"Confusion matrix of {len(names)} classes; the table of the most frequent mistakes says the same in words"
    drawn = _with_counts if len(names) <= COUNTED else _in_levels
    return "\n".join(drawn(confusion, rates, names, said))


def _with_counts(confusion: np.ndarray, rates: np.ndarray, names: Sequence[str], said: str) -> Iterator[str]:
    side, margin = 34, 8 + 7 * max(len(shorten(name, NAME)) for name in names)
    total = side * len(names)
    yield f'<svg class="matrix" viewBox="{-margin} {-margin} {total + margin} {total + margin}" role="img" '
    yield f'style="max-width:{total + margin}px" aria-label="{escape(said)}">'
    yield f'<path class="back" d="M0 0H{total}V{total}H0z"/>'
    for i, name in enumerate(names):
        middle, short = side * i + side / 2, escape(shorten(name, NAME))
        yield f'<text class="name" x="-6" y="{middle + 4}" text-anchor="end">{short}</text>'
        yield f'<text class="name" transform="translate({middle + 4} -6) rotate(-90)">{short}</text>'
    for i, j in np.argwhere(confusion):
        kind, opacity = "right" if i == j else "wrong", _opacity(rates[i, j])
        what = f"{names[i]} taken for {names[j]}" if i != j else f"{names[i]}, right"
        light = " light" if opacity > 0.6 else ""
        yield (
            f"<g><title>{escape(f'{what}: {confusion[i, j]:,} of {confusion[i].sum():,} images')}</title>"
            f'<rect class="{kind}" x="{side * j}" y="{side * i}" width="{side}" height="{side}" '
            f'fill-opacity="{opacity:.2f}"/><text class="count{light}" x="{side * j + side / 2}" '
            f'y="{side * i + side / 2 + 4}" text-anchor="middle">{confusion[i, j]}</text></g>'
        )
    yield "</svg>"


def _in_levels(confusion: np.ndarray, rates: np.ndarray, names: Sequence[str], said: str) -> Iterator[str]:
    total = CELL * len(names)
    yield f'<svg class="matrix large" viewBox="0 0 {total} {total}" role="img" aria-label="{escape(said)}">'
    yield f'<path class="back" d="M0 0H{total}V{total}H0z"/>'
    levels: dict[tuple[str, int], list[str]] = {}
    for i, j in np.argwhere(confusion):
        key = "right" if i == j else "wrong", math.ceil(LEVELS * math.sqrt(rates[i, j]))
        levels.setdefault(key, []).append(f"M{CELL * j} {CELL * i}h{CELL}v{CELL}h-{CELL}z")
    for (kind, level), cells in sorted(levels.items()):
        opacity = _opacity((level / LEVELS) ** 2)
        yield f'<path class="{kind}" fill-opacity="{opacity:.2f}" d="{"".join(cells)}"/>'
    yield '<path class="cross" d=""/><g class="names">'
    for i, name in enumerate(names):
        short = escape(shorten(name, NAME))
        yield f'<text x="-4" y="{CELL * i + 8}" text-anchor="end">{short}</text>'
        yield f'<text transform="translate({CELL * i + 8} -4) rotate(-90)">{short}</text>'
    yield "</g></svg>"


def _opacity(rate: float) -> float:
    return FAINT + (1 - FAINT) * math.sqrt(rate)


def cloud(points: np.ndarray, labels: np.ndarray, names: Sequence[str], kinds: Mapping[int, str], label: str) -> str:
    """Points (n, 2) in the plane, a shape for each class, whose name is shown under the pointer.

    `kinds` are classes of the style by the classes that are coloured; these are drawn above the others. If all are,
    they are named at the median of their points. `label` is read out in place of the picture.
    """
    width, height = CLOUD
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.maximum(high - low, 1e-12 + 1e-6 * (high - low).max())
    scale = np.min((np.array(CLOUD) - 40) / span)
    at = ((points - (low + high) / 2) * scale * (1, -1) + np.array(CLOUD) / 2).round(1)
    parts = [f'<svg class="cloud" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">']
    present = np.unique(labels).tolist()
    for c in sorted(present, key=lambda c: c in kinds):
        path = "".join(f"M{x:g} {y:g}h0" for x, y in at[labels == c])
        parts.append(f'<path class="{kinds.get(c, "grey")}" d="{path}"><title>{escape(names[c])}</title></path>')
    if len(kinds) >= len(present):
        middles = np.array([np.median(at[labels == c], axis=0) for c in present])
        for c, (x, y) in zip(present, apart(middles), strict=True):
            anchor = "end" if x > 0.8 * width else "start" if x < 0.2 * width else "middle"
            said = escape(shorten(names[c], NAME))
            parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{said}</text>')
    return "\n".join([*parts, "</svg>"])


def apart(places: np.ndarray) -> np.ndarray:
    """The places (k, 2) of words, moved down as far as they would cover words further up."""
    moved: np.ndarray = places.astype(float)
    order = np.argsort(moved[:, 1], kind="stable")
    for number, i in enumerate(order):
        for j in sorted(order[:number], key=lambda j: moved[j, 1]):
            if abs(moved[i, 0] - moved[j, 0]) < WORD[0] and abs(moved[i, 1] - moved[j, 1]) < WORD[1]:
                moved[i, 1] = moved[j, 1] + WORD[1]
    return moved
