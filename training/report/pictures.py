"""Pictures of a report as PNG in data URIs: images, attention over them, filters, similarities of positions."""

import base64
import io

import numpy as np
from PIL import Image

from training.inside_figures import STRENGTH, coloured

LONGEST = 96  # pixels of the longer side of an image in the page
CELL = 7  # pixels of a patch in a tile of similarities
MOST_TILES = 16  # down and across
FILTER = 48  # pixels of the longer side of a filter, at least
CLEAR = (0, 0, 0, 0)


def data_uri(image: Image.Image) -> str:
    """The image as PNG, for `src` or `href`."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail(pixels: np.ndarray) -> Image.Image:
    """A uint8 image (H, W, 1 or 3), reduced if it is large."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(image.size) <= LONGEST:
        return image
    width, height = (max(1, round(side * LONGEST / max(image.size))) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def attention_over(pixels: np.ndarray, grid: np.ndarray) -> Image.Image:
    """Attention to each patch, (rows, columns), in colours over the image in grey; its brightest patch is 1."""
    below = thumbnail(pixels).convert("L").convert("RGB")
    brightest = float(grid.max())
    heat = coloured(grid / brightest if brightest > 0 else grid).resize(below.size, Image.Resampling.NEAREST)
    blended = Image.blend(below, heat, STRENGTH)
    return blended.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)  # a third of the bytes


def similarity_tiles(similarity: np.ndarray, grid: tuple[int, int]) -> tuple[Image.Image, float]:
    """A tile for each patch, at its place in the grid: its similarity (N, N) with every patch, in colours.

    The colours go from the lowest similarity, which is returned too, up to 1. Of a grid of more than MOST_TILES down or
    across every second, third, ... tile is drawn.
    """
    rows, columns = grid
    step = -(-max(rows, columns) // MOST_TILES)
    cell = max(2, CELL * MOST_TILES // (2 * max(rows, columns)))
    low = float(similarity.min())
    values = (similarity - low) / (1 - low if low < 1 else 1)
    down, across, gap = range(0, rows, step), range(0, columns, step), 2 * cell
    height, width = rows * cell, columns * cell
    size = len(across) * (width + gap) - gap, len(down) * (height + gap) - gap
    result = Image.new("RGBA", size, CLEAR)
    for i, row in enumerate(down):
        for j, column in enumerate(across):
            tile = coloured(values[row * columns + column].reshape(rows, columns))
            tile = tile.resize((width, height), Image.Resampling.NEAREST)
            result.paste(tile, (j * (width + gap), i * (height + gap)))
    return result, low


def filter_picture(values: np.ndarray) -> Image.Image:
    """Numbers from 0 to 1, (h, w, 1 or 3), enlarged."""
    pixels = (255 * values).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    scale = -(-FILTER // max(image.size))
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
