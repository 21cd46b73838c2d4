"""Figures of what a model attends to, which pixels its answer depends on, and how an image is cut into patches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.streams import printable
from model.layers.patch_embedding import height_width
from model.vit import ViT
from training.inside import Attention

SIDE = 208  # pixels of the longer side of a panel, at least
MARGIN = 10
ACROSS = 5  # panels in a row
FONT, HEADING = 13, 15  # pixels
STRENGTH = 0.7  # of the colours over an image
NUMBERED = 24  # pixels of a patch that has room for its number
BRIGHTEST = 0.995  # the share of the pixels that is not clipped: single ones would make all others dark
# From dark to bright through violet, red and yellow, evenly bright to the eye and to colour-blind ones: five colours of
# the scale inferno (van der Walt and Smith 2015).
SCALE = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], float)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Panel(NamedTuple):
    picture: Image.Image
    lines: tuple[str, ...]  # below it


class Row(NamedTuple):
    """The panels of an image."""

    title: str
    panels: list[Panel]


def attention_row(title: str, guess: str, pixels: np.ndarray, attention: Attention, index: int, vit: ViT) -> Row:
    """The image, what each head of the last block draws from its patches, and rollout over all blocks.

    Each panel goes from dark, no attention, to its own brightest patch.
    """
    image = enlarged(pixels)
    panels = [Panel(image, (guess, "the image as the model sees it"))]
    heads, rolled = attention.heads[index], attention.rollout[index]
    for number, grid in enumerate(heads, 1):
        panels.append(_over(image, grid, f"head {number} of {vit.heads}, last block"))
    panels.append(_over(image, heads.mean(axis=0), "mean of the heads"))
    panels.append(_over(image, rolled, f"rollout, {vit.layers} block{'s' if vit.layers > 1 else ''}"))
    return Row(title, panels)


def saliency_row(title: str, pixels: np.ndarray, guesses: Sequence[tuple[str, np.ndarray]]) -> Row:
    """The image, and for each guess the size of the gradient of its logit by the pixels, (H, W, C)."""
    image = enlarged(pixels)
    panels = [Panel(image, ("the image as the model sees it",))]
    for guess, gradient in guesses:
        size = np.abs(gradient).sum(axis=-1)  # over the channels, as in the book
        brightest = float(np.quantile(size, BRIGHTEST))
        heat = coloured(np.clip(size / brightest, 0, 1) if brightest > 0 else size)
        panels.append(Panel(heat.resize(image.size, Image.Resampling.NEAREST), (guess, "gradient of its logit")))
    return Row(title, panels)


def patches_row(title: str, pixels: np.ndarray, vit: ViT) -> Row:
    """The image, with the lines along which it is cut, and the patches apart, with the numbers of their tokens."""
    (rows, columns), (h, w) = vit.patch_embedding.patchify.grid, height_width(vit.patch_size)
    image = enlarged(pixels, 2 * SIDE)
    scale = image.width // pixels.shape[1]
    h, w = scale * h, scale * w
    lined = image.copy()
    draw = ImageDraw.Draw(lined)
    for row in range(1, rows):
        draw.line([(0, row * h), (image.width, row * h)], fill="white")
    for column in range(1, columns):
        draw.line([(column * w, 0), (column * w, image.height)], fill="white")
    gap = max(3, min(h, w) // 8)
    apart = Image.new("RGB", (columns * (w + gap) - gap, rows * (h + gap) - gap), "white")
    draw, font = ImageDraw.Draw(apart), _font(FONT)
    for row in range(rows):
        for column in range(columns):
            corner = column * (w + gap), row * (h + gap)
            apart.paste(image.crop((column * w, row * h, (column + 1) * w, (row + 1) * h)), corner)
            number = str(row * columns + column + int(vit.class_token))
            if min(h, w) >= NUMBERED and font.getlength(number) < w - 4:
                at = (corner[0] + 3, corner[1] + 1)
                draw.text(at, number, fill="white", font=font, stroke_width=1, stroke_fill="black")
    height, width = height_width(vit.patch_size)
    with_class = ", behind the class token 0" if vit.class_token else ""
    lines = (f"{rows * columns:,} tokens{with_class}", "numbered as the encoder takes them")
    return Row(title, [Panel(lined, (f"patches of {width}x{height} pixels", "")), Panel(apart, lines)])


def enlarged(pixels: np.ndarray, side: int = SIDE) -> Image.Image:
    """A uint8 image (H, W, 1 or 3) in colours, enlarged: the longer side has `side` pixels or more."""
    grey = pixels.shape[-1] == 1
    image = Image.fromarray(pixels[..., 0] if grey else pixels).convert("RGB")
    scale = -(-side // max(image.size))
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)


def coloured(values: np.ndarray) -> Image.Image:
    """Numbers from 0 to 1, (rows, columns), as colours from dark to bright."""
    at = np.linspace(0, 1, len(SCALE))
    channels = [np.interp(values, at, SCALE[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))


def _over(image: Image.Image, grid: np.ndarray, title: str) -> Panel:
    """Attention to each patch in colours over the image."""
    brightest = float(grid.max())
    heat = coloured(grid / brightest if brightest > 0 else grid).resize(image.size, Image.Resampling.NEAREST)
    below = image.convert("L").convert("RGB")  # grey: what is coloured is attention
    return Panel(Image.blend(below, heat, STRENGTH), (title, f"brightest patch {brightest:.1%}"))


def figure(rows: Sequence[Row]) -> Image.Image:
    """All rows below each other, on white; a row with many panels goes over several lines."""
    font, heading = _font(FONT), _font(HEADING)
    line = int(font.getbbox("Ag")[3]) + 3
    parts = [_lines_of_panels(row.panels) for row in rows]
    cells = [panel for row in rows for panel in row.panels]
    cell_width = max(panel.picture.width for panel in cells) + 2 * MARGIN
    across = max(len(panels) for lines in parts for panels in lines)
    width = across * cell_width
    text = max(len(panel.lines) for panel in cells) * line
    top = int(heading.getbbox("Ag")[3]) + 2 * MARGIN
    heights = [[max(p.picture.height for p in panels) + text + 2 * MARGIN for panels in lines] for lines in parts]
    result = Image.new("RGB", (width, sum(top + sum(of_row) for of_row in heights)), "white")
    draw, y = ImageDraw.Draw(result), 0
    for row, lines, of_row in zip(rows, parts, heights, strict=True):
        draw.text((MARGIN, y + MARGIN), _fitted(row.title, width - 2 * MARGIN, heading, True), "black", heading)
        y += top
        for panels, height in zip(lines, of_row, strict=True):
            for column, panel in enumerate(panels):
                x = column * cell_width + MARGIN
                result.paste(panel.picture, (x, y))
                for number, said in enumerate(panel.lines):
                    below = y + panel.picture.height + 3 + number * line
                    draw.text((x, below), _fitted(said, cell_width - 2 * MARGIN, font), "black", font)
            y += height
    return result


def _lines_of_panels(panels: list[Panel]) -> list[list[Panel]]:
    """The panels in as few lines as possible, of about equal length."""
    lines = -(-len(panels) // ACROSS)
    across = -(-len(panels) // lines)
    return [panels[first : first + across] for first in range(0, len(panels), across)]


def _font(size: int) -> Font:
    try:
        return ImageFont.load_default(size)
    except ImportError:  # a Pillow without FreeType has a single font
        return ImageFont.load_default()


def _fitted(text: str, width: float, font: Font, keep_end: bool = False) -> str:
    """The text, shortened to a width in pixels; with `keep_end` at its beginning."""
    text = shown = printable(text)
    while font.getlength(shown) > width and text:
        text = text[1:] if keep_end else text[:-1]
        shown = f"..{text}" if keep_end else f"{text}.."
    return shown
