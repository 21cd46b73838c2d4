"""A page of SVG for the figures of the README: lines, arrows and text, written as they are drawn.

The page has a background of its own, so it reads the same on GitHub's light and dark pages. Coordinates are pixels, y
grows downwards. What is written depends on nothing but what was drawn: no time, no random names.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

FORWARD, BACKWARD = "#0b62a8", "#c8321e"  # blue and red; a colour-blind reader can tell them apart
INK, GREY, PALE, PAPER = "#1f2328", "#636c76", "#d5dae0", "#ffffff"
FONT = "-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

Point = tuple[float, float]


class Page:
    """An SVG page of `width` times `height` pixels; `title` says in words what is to be seen.

    What is drawn `beneath` lies under everything else, in whatever order it is drawn.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self._beneath = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img" aria-label={quoteattr(title)} font-family="{FONT}" font-size="12.3">',
            f"<title>{escape(title)}</title>",
        ]
        self._parts: list[str] = []
        self.box(0.5, 0.5, width - 1, height - 1, fill=PAPER, edge=PALE, corner=8, beneath=True)

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = PAPER, edge: str = INK, corner: float = 5,
        beneath: bool = False,
    ) -> None:  # fmt: skip
        """A rectangle with round corners; (x, y) is its upper left corner."""
        (self._beneath if beneath else self._parts).append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(corner)}"'
            f' fill="{fill}" stroke="{edge}"/>'
        )

    def area(self, points: Sequence[Point], fill: str, beneath: bool = False) -> None:
        (self._beneath if beneath else self._parts).append(f'<polygon points="{_points(points)}" fill="{fill}"/>')

    def line(self, points: Sequence[Point], colour: str, width: float = 1.8, dashes: str = "") -> None:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="{_n(width)}"'
            f' stroke-linejoin="round"{dashed}/>'
        )

    def arrow(self, points: Sequence[Point], colour: str) -> None:
        """A line whose last piece, which is horizontal or vertical, ends in an arrowhead."""
        (x0, y0), (x1, y1) = points[-2:]
        dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        back_x, back_y = x1 - 7 * dx, y1 - 7 * dy
        self.line([*points[:-1], (back_x, back_y)], colour)
        self.area([(x1, y1), (back_x - 4 * dy, back_y - 4 * dx), (back_x + 4 * dy, back_y + 4 * dx)], colour)

    def dot(self, x: float, y: float, colour: str, radius: float = 3.5) -> None:
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{colour}"/>')

    def plus(self, x: float, y: float, colour: str, radius: float = 8) -> None:
        """A sum: a plus in a circle."""
        self._parts.append(
            f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{PAPER}" stroke="{colour}" stroke-width="1.8"/>'
        )
        self.line([(x - radius / 2, y), (x + radius / 2, y)], colour)
        self.line([(x, y - radius / 2), (x, y + radius / 2)], colour)

    def text(
        self, x: float, y: float, words: str, colour: str = INK, anchor: str = "start", size: float = 12.3,
        bold: bool = False, turn: float = 0,
    ) -> None:  # fmt: skip
        """`anchor` is the end of the text that stands at (x, y): "start", "middle" or "end"; `turn` is in degrees."""
        weight = ' font-weight="600"' if bold else ""
        turned = f' transform="rotate({_n(turn)} {_n(x)} {_n(y)})"' if turn else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" fill="{colour}" text-anchor="{anchor}" font-size="{_n(size)}"'
            f"{weight}{turned}>{escape(words)}</text>"
        )

    def source(self) -> str:
        """The file's whole text."""
        return "\n".join([*self._beneath, *self._parts, "</svg>", ""])


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
