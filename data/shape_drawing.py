"""Drawing one picture of the shapes data set: a coloured, textured shape on a textured ground, with clutter.

The classes differ in their outline only. Colours, textures, position, size, rotation, clutter and occlusion are drawn
independently of the class. One cue makes learning easier: the shape is brighter than its background and than what
covers it. Without it, and with arbitrary rotation, a small ViT would need far more than the few minutes of a
demonstration.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

SIZE = 64  # pixels, height and width
SUPERSAMPLING = 2  # masks are drawn at this multiple of the size and averaged, which smooths their edges
RADIUS = (0.32, 0.46)  # minimum and maximum radius of the shape, as a fraction of SIZE
ROTATION = 30  # degrees, maximum in either direction
LUMINANCE = np.array([0.30, 0.59, 0.11])  # weights of red, green and blue in the brightness
CONTRAST = 60  # of 255: minimum difference in brightness between the shape and what surrounds or covers it
SHAPE_TEXTURE, GROUND_TEXTURE = 24, 12  # of 255: maximum amplitude of a texture

Polygon = np.ndarray  # float (vertices, 2): x to the right, y down; shapes lie within the unit disc
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are inclusive

CLASSES = {  # class id, also the name of its folder -> name for people
    "disc": "disc",
    "ring": "ring",
    "crescent": "crescent moon",
    "semicircle": "half disc",
    "triangle": "triangle",
    "square": "square",
    "star": "five-pointed star",
    "cross": "cross, plus sign",
    "heart": "heart",
    "hourglass": "hourglass",
    "bar": "bar, long rectangle",
    "equals": "equals sign, two bars",
}


# Outlines: lists of polygons, each to be filled (True) or cut out (False).


def _arc(start: float, stop: float, radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0)) -> Polygon:
    angles = np.linspace(start, stop, 48)
    return np.stack([centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)], axis=1)


def _star(points: int, inner: float) -> Polygon:
    angles = np.arange(2 * points) * math.pi / points - math.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> Polygon:
    t = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


def _bar(y: float, half: float) -> Polygon:
    return _points(-1, y - half, 1, y - half, 1, y + half, -1, y + half) * 0.95


def _points(*values: float) -> Polygon:
    return np.array(values, float).reshape(-1, 2)


_CIRCLE = _arc(0, 2 * math.pi)
_CROSS = _points(-1, -3, 1, -3, 1, -1, 3, -1, 3, 1, 1, 1, 1, 3, -1, 3, -1, 1, -3, 1, -3, -1, -1, -1) / math.sqrt(10)
OUTLINES: dict[str, list[tuple[Polygon, bool]]] = {
    "disc": [(_CIRCLE * 0.85, True)],
    "ring": [(_CIRCLE * 0.9, True), (_CIRCLE * 0.5, False)],
    "crescent": [(_CIRCLE, True), (_arc(0, 2 * math.pi, 0.85, (0.5, 0.0)), False)],
    "semicircle": [(_arc(0, math.pi) - (0.0, 0.4), True)],
    "triangle": [(_star(3, 0.5), True)],
    "square": [(_points(-1, -1, 1, -1, 1, 1, -1, 1) * 0.72, True)],
    "star": [(_star(5, 0.42), True)],
    "cross": [(_CROSS, True)],
    "heart": [(_heart(), True)],
    "hourglass": [(_points(-0.7, -0.8, 0.7, -0.8, -0.7, 0.8, 0.7, 0.8), True)],
    "bar": [(_bar(0.0, 0.25), True)],
    "equals": [(_bar(-0.5, 0.2), True), (_bar(0.5, 0.2), True)],
}


def draw(class_id: str, rng: np.random.Generator) -> tuple[Image.Image, Box]:
    """A picture of the class, RGB of SIZE x SIZE, and the bounding box of its shape, covered parts included.

    class_id: a key of CLASSES.
    """
    ground, shape, cover = _colours(rng)
    canvas = _texture(rng, ground, GROUND_TEXTURE)
    for _ in range(rng.integers(0, 3)):  # clutter, too small to be mistaken for the shape
        canvas = _blend(canvas, _texture(rng, _colours(rng)[0], GROUND_TEXTURE), _patch(rng, rng.uniform(0.04, 0.09)))
    mask = _shape_mask(class_id, rng)
    canvas = _blend(canvas, _texture(rng, shape, SHAPE_TEXTURE), mask)
    if rng.random() < 0.3:
        canvas = _blend(canvas, _texture(rng, cover, GROUND_TEXTURE), _patch(rng, rng.uniform(0.06, 0.12)))
    canvas += rng.normal(0, rng.uniform(2, 8), canvas.shape)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), box


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Colours of ground, shape and cover: (3, RGB) in 0..255. The shape is brighter than both others by CONTRAST."""
    while True:
        colours = rng.uniform(0, 255, (3, 3))
        ground, shape, cover = colours @ LUMINANCE
        if shape - max(ground, cover) > CONTRAST:
            return colours


def _texture(rng: np.random.Generator, colour: np.ndarray, strength: float) -> np.ndarray:
    """float (SIZE, SIZE, 3): the colour, plain or modulated by stripes, a checkerboard, dots or a gradient."""
    angle, period, phase = rng.uniform(0, math.pi), rng.uniform(5, 14), rng.uniform(0, 2 * math.pi, 2)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    u = (x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period + phase[0]
    v = (y * math.cos(angle) - x * math.sin(angle)) * 2 * math.pi / period + phase[1]
    kind = rng.integers(5)
    if kind == 0:
        shade = np.zeros((SIZE, SIZE))
    elif kind == 1:
        shade = np.sin(u)
    elif kind == 2:
        shade = np.sign(np.sin(u) * np.sin(v))
    elif kind == 3:
        shade = 2.0 * (np.cos(u) + np.cos(v) > 1) - 1
    else:
        shade = (u - u.mean()) * period / (SIZE * math.pi)
    return colour + shade[:, :, None] * rng.uniform(-strength, strength, 3)


def _shape_mask(class_id: str, rng: np.random.Generator) -> np.ndarray:
    """float (SIZE, SIZE) in 0..1: the outline at random position, size, stretch and rotation, inside the picture."""
    radius = rng.uniform(*RADIUS) * SIZE
    angle, stretch = math.radians(rng.uniform(-ROTATION, ROTATION)), rng.uniform(0.85, 1.0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = rng.uniform(radius, SIZE - radius, 2)
    return fill([(polygon * (1, stretch) @ turn * radius + centre, on) for polygon, on in OUTLINES[class_id]])


def _patch(rng: np.random.Generator, size: float) -> np.ndarray:
    """float (SIZE, SIZE) in 0..1: a random convex polygon whose radius is the fraction `size` of the picture."""
    angles = np.sort(rng.uniform(0, 2 * math.pi, 7))
    polygon = np.stack([np.cos(angles), np.sin(angles)], axis=1) * size * SIZE
    return fill([(polygon + rng.uniform(0, SIZE, 2), True)])


def fill(polygons: list[tuple[Polygon, bool]]) -> np.ndarray:
    """float (SIZE, SIZE) in 0..1: the mask of polygons in pixel coordinates, filled or cut out in order."""
    mask = Image.new("L", (SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING))
    pen = ImageDraw.Draw(mask)
    for polygon, on in polygons:
        pen.polygon([tuple(point) for point in (polygon * SUPERSAMPLING).tolist()], fill=255 if on else 0)
    return np.asarray(mask.reduce(SUPERSAMPLING), float) / 255


def _blend(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return below + (above - below) * mask[:, :, None]
