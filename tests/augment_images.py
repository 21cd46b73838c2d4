"""Images that bring out what an operation does: what the tests of augmentation share."""

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 18, 23  # no two sides alike, and nothing a multiple of 4


def images_of(n: int, height: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    """Noise without zeros, so that black can only have come from outside."""
    return np.random.default_rng(seed).integers(1, 256, (n, height, width, 3), dtype=np.uint8)


def varied_images() -> np.ndarray:
    """Noise, dark noise, few values, slopes, one colour, a spot in one colour, ...: uint8 (8, HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(1)
    size = (HEIGHT, WIDTH, 3)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slope = np.stack([x * 10, y * 7 + 60, (x + y) * 3 + 20], axis=-1)
    spot = np.full(size, 200)
    spot[3, 4] = (10, 250, 199)
    images = [
        rng.integers(0, 256, size),
        rng.integers(40, 90, size),
        rng.integers(0, 4, size) * 60 + 20,
        slope,
        np.full(size, (12, 130, 255)),
        spot,
        rng.normal((90, 120, 160), (30, 8, 60), size).clip(0, 255),
        rng.integers(0, 2, size) * 255,
    ]
    return np.stack(images).astype(np.uint8)


def grey_images() -> np.ndarray:
    """One of the channels of each of `varied_images`: uint8 (8, HEIGHT, WIDTH, 1)."""
    return np.stack([image[..., [i % 3]] for i, image in enumerate(varied_images())])


def pillow(images: np.ndarray) -> list[Image.Image]:
    """As Pillow has them: RGB for three channels, mode L for one."""
    return [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in images]


def levels_apart(ours: object, theirs: list[Image.Image]) -> np.ndarray:
    """How far each value is from Pillow's."""
    found, expected = np.asarray(ours), np.stack([np.asarray(image) for image in theirs])
    if theirs[0].mode == "L":
        expected = expected[..., None]
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    return np.abs(found.astype(int) - expected)
