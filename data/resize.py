"""One image brought to a size: cropped, squashed or padded (see data/form.py)."""

from __future__ import annotations

from PIL import Image

from data.form import Resize

BICUBIC = Image.Resampling.BICUBIC  # antialiased in Pillow: where it shrinks, the kernel grows by the same factor


def fit(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    """The image with `size` = (H, W); the same object if it has that size already.

    The image is grey or in colours (mode L or RGB): other modes are converted before, as palettes cannot be blended.
    Each pixel of the result is computed from the image in one step, so that nothing is rounded in between.
    """
    height, width = size
    if image.size == (width, height):
        return image
    if resize == "squash":
        return image.resize((width, height), BICUBIC)
    if resize == "crop":
        return image.resize((width, height), BICUBIC, box=_crop_box(image, height, width))
    return _padded(image, height, width)


def _crop_box(image: Image.Image, height: int, width: int) -> tuple[float, float, float, float]:
    """The largest part of the image, in its centre, that has the shape of the result: left, top, right, bottom."""
    if image.width * height > image.height * width:  # too wide
        part = image.height * width / height
        left = (image.width - part) / 2
        return left, 0, min(left + part, image.width), image.height
    part = image.width * height / width
    top = (image.height - part) / 2
    return 0, top, image.width, min(top + part, image.height)


def _padded(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole image, as large as fits, in the centre of a black one."""
    scale = min(width / image.width, height / image.height)
    inner = min(max(round(image.width * scale), 1), width), min(max(round(image.height * scale), 1), height)
    result = Image.new(image.mode, (width, height))
    result.paste(image.resize(inner, BICUBIC), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return result
