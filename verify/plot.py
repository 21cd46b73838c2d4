"""Figures as SVG text: curves on two logarithmic axes, without a plotting library."""

import html
import itertools
import math
from collections.abc import Iterator, Sequence

Points = Sequence[tuple[float, float]]
# From the colour-blind-safe palette of Okabe and Ito; the dashes help where curves meet.
STYLES = (
    ("#1f83c4", "none"), ("#d55e00", "7 3"), ("#009e73", "9 3 2 3"), ("#b8649a", "2 3"), ("#b87c00", "9 2 2 2 2 2"),
)  # fmt: skip
LEFT, RIGHT, TOP, BOTTOM, SAMPLE = 62, 22, 30, 46, 30


def log_plot(
    curves: Sequence[tuple[str, Points]], *, title: str = "", x: str = "", y: str = "", width: int = 560,
    height: int = 340, flip: bool = True, legend: str = "top right",
) -> str:  # fmt: skip
    """An SVG of `curves`, each a name and points (x, y). Points that are not positive are left out.

    With `flip` x falls from left to right, as for a step that becomes smaller. `legend` is the place of the names, "top
    right" or "bottom right".
    """
    kept = [(name, [(a, b) for a, b in points if a > 0 and 0 < b < math.inf]) for name, points in curves]
    places = [point for _, points in kept for point in points]
    if not places:
        return ""
    axes = _Axes(places, width, height, flip)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="19" font-size="14">{html.escape(title)}</text>',
        *axes.grid(),
        f'<text x="{(LEFT + width - RIGHT) / 2:.0f}" y="{height - 10}" text-anchor="middle">{html.escape(x)}</text>',
        f'<text x="14" y="{height / 2:.0f}" text-anchor="middle" transform="rotate(-90 14 {height / 2:.0f})">'
        f"{html.escape(y)}</text>",
    ]
    for i, ((name, points), (colour, dashes)) in enumerate(zip(kept, itertools.cycle(STYLES), strict=False)):
        look = f'fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dashes}"'
        line = TOP + 16 + 16 * i if legend == "top right" else height - BOTTOM - 16 * (len(kept) - i)
        end = width - RIGHT - 6
        parts += [
            f'<polyline points="{axes.path(points)}" {look}/>',
            f'<polyline points="{end - SAMPLE},{line - 4} {end},{line - 4}" {look}/>',
            f'<text x="{end - SAMPLE - 6}" y="{line}" text-anchor="end">{html.escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def sparkline(points: Points, width: int = 130, height: int = 30) -> str:
    """A curve without axes for the cell of a table; x falls from left to right, and y ranges from 1 down to 1e-16."""
    kept = [(a, min(max(b, 1e-16), 1.0)) for a, b in points if a > 0 and b == b]
    if len(kept) < 2:
        return ""
    xs = [math.log(a) for a, _ in kept]
    low, span = min(xs), (max(xs) - min(xs)) or 1.0
    path = " ".join(
        f"{(1 - (math.log(a) - low) / span) * (width - 2) + 1:.1f},{-math.log10(b) / 16 * (height - 2) + 1:.1f}"
        for a, b in kept
    )
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<polyline points="{path}" fill="none" stroke="{STYLES[0][0]}" stroke-width="1.2"/></svg>'
    )


class _Axes:
    """From values to pixels, on logarithmic axes that end at powers of ten."""

    def __init__(self, places: Points, width: int, height: int, flip: bool) -> None:
        self.width, self.height, self.flip = width, height, flip
        self.x = self._range([a for a, _ in places])
        self.y = self._range([b for _, b in places])

    @staticmethod
    def _range(values: Sequence[float]) -> tuple[int, int]:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return (low, high) if high > low else (low, low + 1)

    def left(self, value: float) -> float:
        share = (math.log10(value) - self.x[0]) / (self.x[1] - self.x[0])
        return LEFT + (1 - share if self.flip else share) * (self.width - LEFT - RIGHT)

    def top(self, value: float) -> float:
        share = (math.log10(value) - self.y[0]) / (self.y[1] - self.y[0])
        return TOP + (1 - share) * (self.height - TOP - BOTTOM)

    def path(self, points: Points) -> str:
        return " ".join(f"{self.left(a):.1f},{self.top(b):.1f}" for a, b in points)

    def grid(self) -> Iterator[str]:
        for low_high, vertical in ((self.x, True), (self.y, False)):
            low, high = low_high
            for power in range(low, high + 1, max(1, (high - low) // 6)):
                if vertical:
                    at = self.left(10.0**power)
                    line = f'x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{self.height - BOTTOM}"'
                    text = f'x="{at:.1f}" y="{self.height - BOTTOM + 16}" text-anchor="middle"'
                else:
                    at = self.top(10.0**power)
                    line = f'y1="{at:.1f}" y2="{at:.1f}" x1="{LEFT}" x2="{self.width - RIGHT}"'
                    text = f'x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end"'
                yield f'<line {line} stroke="#ddd"/>'
                yield f'<text {text} fill="#555">1e{power}</text>'
