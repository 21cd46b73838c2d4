"""The model from pixels to loss and back: the first figure of the README, and its three columns for the chapters.

    python docs/figures/model.py

Writes model.svg beside this file. Three columns, each the inside of a box of the one before: the model, one pre-norm
block of it, and its multi-head attention. Each column alone, narrow enough for a phone, is in flow_model.svg,
flow_block.svg and flow_attention.svg. The forward runs down in blue, the backward up in red. Formulas and names are
those of model/layers/ and of the book.
"""

from collections.abc import Callable
from pathlib import Path

from svg import BACKWARD, FORWARD, GREY, INK, PALE, Page

WIDTH, HEIGHT = 880, 740
TOP, BOTTOM = 46, 670  # of the three panels
LANE = 12  # from the middle of a column to its forward arrow on the left, and its backward arrow on the right
SMALL = 11.7  # the smaller of two sizes of text: 11 pixels where GitHub shows the figure 830 pixels wide
PANEL, ZOOM = "#f6f8fa", "#e4eaf1"
PICTURE = ("#8ecae6", "#b8dff0", "#d7eef7", "#8ecae6", "#b8dff0", "#f4a259", "#f2b880", "#b8dff0",
           "#d7eef7", "#f4a259", "#e76f51", "#d7eef7", "#7fb069", "#6a994e", "#7fb069", "#a7c957")  # fmt: skip


class Column:
    """A panel with one stack of boxes, drawn from above: `y` is how far down it has come."""

    def __init__(self, page: Page, left: float, right: float, box_width: float, title: str) -> None:
        self.page, self.left, self.right, self.box_width = page, left, right, box_width
        self.middle, self.y = (left + right) / 2, float(TOP)
        page.box(left, TOP, right - left, BOTTOM - TOP, fill=PANEL, edge=PALE, beneath=True)
        page.text(self.middle, TOP - 10, title, anchor="middle", size=14, bold=True)

    @property
    def forward(self) -> float:
        return self.middle - LANE

    @property
    def backward(self) -> float:
        return self.middle + LANE

    def arrows(self, height: float, forward: str, backward: str, shape: str = "") -> None:
        """Down with the forward's name and its shape, up with the gradient's, which has the same shape."""
        top, bottom, middle = self.y + 1, self.y + height - 1, self.y + height / 2
        self.page.arrow([(self.forward, top), (self.forward, bottom)], FORWARD)
        self.page.arrow([(self.backward, bottom), (self.backward, top)], BACKWARD)
        self.page.text(self.forward - 9, middle - 3 if shape else middle + 4, forward, FORWARD, "end")
        if shape:
            self.page.text(self.forward - 9, middle + 11, shape, GREY, "end", SMALL)
        self.page.text(self.backward + 9, middle + 4, backward, BACKWARD)
        self.y += height

    def box(self, title: str, forward: str = "", backward: str = "", note: str = "", copies: int = 1) -> float:
        """One layer, with what goes in on the left and what comes back on the right; returns where its middle is."""
        height, left = 36, self.middle - self.box_width / 2
        for copy in reversed(range(copies)):
            self.page.box(left + 3 * copy, self.y + 3 * copy, self.box_width, height)
        self.page.text(self.middle, self.y + 15, title, anchor="middle", bold=True)
        self.page.text(left + 8, self.y + 29, forward, FORWARD, size=SMALL)
        self.page.text(left + self.box_width - 8, self.y + 29, backward, BACKWARD, "end", SMALL)
        self.page.text(self.middle, self.y + 29, note, GREY, "middle", SMALL)
        self.y += height
        return self.y - height / 2

    def formulas(self, title: str, tags: str, forward: str, *backward: str) -> tuple[float, float]:
        """One layer with its formulas; returns its upper and its lower edge."""
        top, height, left = self.y, 24 + 16 * (1 + len(backward)), self.middle - self.box_width / 2
        self.page.box(left, top, self.box_width, height)
        self.page.text(left + 10, top + 17, title, bold=True)
        self.page.text(left + self.box_width - 10, top + 17, tags, GREY, "end", SMALL)
        for i, (words, colour) in enumerate([(forward, FORWARD), *((line, BACKWARD) for line in backward)]):
            self.page.text(left + 10, top + 33 + 16 * i, words, colour)
        self.y += height
        return top, self.y


def zoom(column: Column, y: float, panel: Column) -> None:
    """From a box of `column` whose middle is at `y` to the panel on which its inside is drawn."""
    x, half = column.middle + column.box_width / 2, 18
    column.page.area(
        [(x, y - half), (panel.left, TOP + 4), (panel.left, BOTTOM - 4), (x, y + half)], ZOOM, beneath=True
    )


def picture(column: Column) -> None:
    """An image, cut into four times four patches."""
    side = 14
    left = column.middle - 2 * side
    for i, colour in enumerate(PICTURE):
        column.page.box(left + i % 4 * side, column.y + i // 4 * side, side, side, colour, "#ffffff", 0)
    column.y += 4 * side + 2


def draw_model(column: Column) -> float:
    """Returns where the middle of the encoder's box is."""
    column.y += 8
    picture(column)
    column.arrows(38, "images", "dimages", "(B, 64, 64, 3)")
    column.box("patch embedding", "W, b", "dW, db")
    column.arrows(38, "x", "dx", "(B, n, D)")
    column.box("class token, positions", "copied B times", "summed over B")
    column.arrows(38, "x", "dx", "(B, N, D)")
    encoder = column.box("L encoder blocks", "parameters", "gradients", copies=3)
    column.y += 6
    column.arrows(38, "x", "dx", "(B, N, D)")
    column.box("layer norm", "γ, β", "dγ, dβ")
    column.arrows(38, "x", "dx", "(B, N, D)")
    column.box("pooling", "x[:, 0]", "dy, else 0")
    column.arrows(38, "x", "dx", "(B, D)")
    column.box("head", "W, b", "dW, db")
    column.arrows(38, "logits", "dlogits", "(B, C)")
    column.box("cross entropy", "−Σ t log p / B", "(p − t) / B")
    column.arrows(BOTTOM - column.y - 4, "loss", "dloss = 1")
    return encoder


def draw_branch(column: Column, x: str, normed: str, out: str, total: str, layer: str, note: str, shape: str) -> float:
    """One residual branch, y = x + layer(norm(x)); returns where the middle of the layer's box is."""
    page, outer = column.page, (column.left + 32, column.right - 32)
    fork = column.y + 8
    column.y += 16
    column.arrows(34, x, "dbranch")
    column.box("layer norm", "γ, β", "dγ, dβ")
    column.arrows(38, normed, f"d{normed}", shape)
    middle = column.box(layer, note=note)
    column.arrows(38, out, f"d{out} = d{total}", shape)
    join = column.y + 8
    column.y += 16
    page.dot(column.forward, fork, FORWARD)
    page.line([(column.forward, fork - 8), (column.forward, fork + 9)], FORWARD)
    page.arrow([(column.forward, fork), (outer[0], fork), (outer[0], join), (column.forward - 8, join)], FORWARD)
    page.text(outer[0] - 7, (fork + join) / 2 + 4, x, FORWARD, "end")
    page.line([(column.backward, join - 9), (column.backward, join + 8)], BACKWARD)
    page.dot(column.backward, join, BACKWARD)
    page.arrow([(column.backward, join), (outer[1], join), (outer[1], fork), (column.backward + 8, fork)], BACKWARD)
    page.text(outer[1] + 7, (fork + join) / 2 + 4, f"d{total}", BACKWARD)
    page.plus(column.forward, join, FORWARD)
    page.plus(column.backward, fork, BACKWARD)
    return middle


def draw_block(column: Column) -> float:
    """Returns where the middle of the attention's box is."""
    column.y += 6
    column.arrows(40, "x", "dx = dh + dbranch", "(B, N, D)")
    attention = draw_branch(column, "x", "normed", "att", "h", "attention", "H heads", "(B, N, D)")
    column.arrows(38, "h = x + att", "dh = dy + dbranch")
    draw_branch(column, "h", "normed", "ffn", "y", "feed-forward", "dense, GELU, dense", "(B, N, D)")
    column.arrows(40, "y = h + ffn", "dy", "(B, N, D)")
    for i, words in enumerate(
        ("What the forward copies, the backward adds;", "what the forward adds, the backward copies.")
    ):
        column.page.text(column.middle, BOTTOM - 27 + 16 * i, words, INK, "middle")
    return attention


def draw_attention(column: Column) -> None:
    page, outer = column.page, (column.left + 20, column.right - 20)
    edges = (column.middle - column.box_width / 2, column.middle + column.box_width / 2)
    column.y += 6
    column.arrows(40, "x", "dx", "(B, N, D)")
    top, bottom = column.formulas(
        "qkv projection",
        "MHA.1, MHA.10",
        "q, k, v = split(x W + b)",
        "dx = merge(dq, dk, dv) Wᵀ",
        "dW = xᵀ merge(dq, dk, dv)",
    )
    leave = (top + bottom) / 2
    column.arrows(42, "q, k", "dq, dk", "(B, H, N, K)")
    column.formulas("scores", "MHA.2, MHA.9", "scores = q kᵀ / √K", "dq = dscores k / √K", "dk = dscoresᵀ q / √K")
    column.arrows(42, "scores", "dscores", "(B, H, N, N)")
    column.formulas(
        "softmax", "MHA.3, MHA.8", "weights = softmax(scores), by rows", "dscores = weights ∘ (dweights − s)",
        "s = Σ weights ∘ dweights, by rows",
    )  # fmt: skip
    column.arrows(42, "weights", "dweights", "(B, H, N, N)")
    top, bottom = column.formulas(
        "weighted sum", "MHA.4, MHA.7", "mixed = weights v", "dweights = dmixed vᵀ", "dv = weightsᵀ dmixed"
    )
    enter = (top + bottom) / 2
    column.arrows(42, "mixed", "dmixed", "(B, H, N, K)")
    column.formulas(
        "output projection", "MHA.5, MHA.6", "y = merge(mixed) W + b", "dmixed = split(dy Wᵀ)", "dW = merge(mixed)ᵀ dy"
    )
    column.arrows(40, "y", "dy", "(B, N, D)")
    page.arrow([(edges[0], leave), (outer[0], leave), (outer[0], enter), (edges[0] - 1, enter)], FORWARD)
    page.text(outer[0] + 6, (leave + enter) / 2, "v", FORWARD)
    page.arrow([(edges[1], enter), (outer[1], enter), (outer[1], leave), (edges[1] + 1, leave)], BACKWARD)
    page.text(outer[1] - 5, (leave + enter) / 2, "dv", BACKWARD, "end")


def legend(page: Page) -> None:
    y = BOTTOM + 24
    page.arrow([(16, y), (52, y)], FORWARD)
    page.text(60, y + 4, "forward: y, cache = layer.forward(params, x)", FORWARD)
    page.arrow([(388, y), (352, y)], BACKWARD)
    page.text(396, y + 4, "backward: dx, grads = layer.backward(params, cache, dy)", BACKWARD)
    page.text(
        16, y + 28, "B images, n patches, N = n + 1 tokens, D width, H heads of width K = D / H, C classes; "
        "t targets, p = softmax(logits)", GREY,
    )  # fmt: skip
    page.text(WIDTH - 16, y + 4, "dZ: ∂loss / ∂Z", GREY, "end")


def draw() -> str:
    """The text of model.svg."""
    page = Page(
        WIDTH, HEIGHT, "The model from pixels to loss in blue, and the gradient from the loss back to the pixels in red"
    )
    model = Column(page, 12, 252, 190, "The model")
    block = Column(page, 270, 540, 130, "One encoder block")
    attention = Column(page, 558, 868, 222, "Its attention")
    zoom(model, draw_model(model), block)
    zoom(block, draw_block(block), attention)
    draw_attention(attention)
    legend(page)
    return page.source()


def draw_alone(title: str, width: int, box_width: float, draw_column: Callable[[Column], object]) -> str:
    """One column as a page of its own."""
    page = Page(width, BOTTOM + 44, f"{title}: the forward pass down in blue, the backward pass up in red")
    draw_column(Column(page, 12, width - 12, box_width, title))
    y = BOTTOM + 24
    page.arrow([(16, y), (44, y)], FORWARD)
    page.text(50, y + 4, "forward", FORWARD)
    page.arrow([(138, y), (110, y)], BACKWARD)
    page.text(144, y + 4, "backward", BACKWARD)
    page.text(width - 16, y + 4, "dZ: ∂loss / ∂Z", GREY, "end")
    return page.source()


def figures() -> dict[str, str]:
    """The text of each file, by its name."""
    return {
        "model.svg": draw(),
        "flow_model.svg": draw_alone("The model", 300, 190, draw_model),
        "flow_block.svg": draw_alone("One encoder block", 310, 130, draw_block),
        "flow_attention.svg": draw_alone("Multi-head attention", 334, 222, draw_attention),
    }


if __name__ == "__main__":
    for name, text in figures().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8", newline="\n")
