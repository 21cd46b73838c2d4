"""Opening the picture in a file: any format, upright, without transparency, grey or RGB, in eight bits a channel."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.jpeg import damage

JPEG = ("JPEG",)
# Pillow's other formats are no pictures (of weather, of X-rays), or are drawn by another program (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "MPO", "JPEG2000", "AVIF", "PPM", "TGA", "ICO", "PCX")
UNREAD = frozenset({".heic", ".heif", ".cr2", ".nef", ".arw", ".dng", ".svg", ".psd"})  # pictures that are not opened
GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})  # Pillow's modes of one channel
DEEP = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})  # those of 16 bits
SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations in which height and width are exchanged
UPRIGHT = {  # what undoes each orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112  # its tag in EXIF
REDUCED = 2  # a large JPEG is decoded to at least this many times the size that it is then scaled to


@cache
def suffixes() -> frozenset[str]:
    """The ends of the names of files that are opened, in lower case."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


@contextmanager
def opened(content: bytes | BinaryIO, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """The picture in a file, or of its content. Nothing is decoded yet. Raises what Pillow raises, of many types."""
    known = formats if formats == JPEG else _available(formats)
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with warnings.catch_warnings(action="ignore"), Image.open(file, formats=known) as image:
        yield image


@cache
def _available(formats: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the formats that this Pillow has."""
    Image.init()
    return tuple(name for name in formats if name in Image.OPEN)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of a picture that is not decoded yet, as EXIF says that it is to be seen."""
    sideways = _orientation(image) in SIDEWAYS
    return (image.width, image.height) if sideways else (image.height, image.width)


def _orientation(image: Image.Image) -> int:
    """How the stored picture lies. A TIFF is turned upright by Pillow itself."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info and not _has_late_exif(image)):
        return 1  # in a PNG, Pillow would decode the pixels to look behind them
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged EXIF block raises many types, and says nothing about the pixels
        return 1


def _has_late_exif(image: Image.Image) -> bool:
    """Whether a PNG that is not decoded yet seems to have EXIF behind its pixels."""
    file = getattr(image, "fp", None)
    if file is None:
        return True
    place = file.tell()
    rest = file.read()
    file.seek(place)
    return b"eXIf" in rest


def decoded(image: Image.Image, content: bytes, reduce_to: tuple[int, int] | None = None) -> Image.Image:
    """The opened picture, decoded and upright. A JPEG that is damaged inside raises ValueError, too.

    `reduce_to` is a height and width: a JPEG that is at least twice as large is decoded at a half, a quarter or an
    eighth of its size, but not below this.
    """
    orientation = _orientation(image)
    if reduce_to is not None:
        height, width = reversed(reduce_to) if orientation in SIDEWAYS else reduce_to
        image.draft(None, (width, height))  # of no effect on other formats
    image.load()
    problem = damage(content) if image.format in ("JPEG", "MPO") else ""
    if problem:
        raise ValueError(problem)
    # Not ImageOps.exif_transpose: it also writes all of EXIF anew, and fails where another tag is odd.
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def plain(image: Image.Image, channels: int) -> Image.Image:
    """A decoded picture with 1 channel (mode L) or 3 (mode RGB), what is transparent on white.

    Raises ValueError for pixels that are floating-point numbers, whose range is not known.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which it is not known what is white")
    if image.mode in DEEP:
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((deep + 128) // 257).astype(np.uint8))  # 65535 is 255
    if image.has_transparency_data:
        with_alpha = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), with_alpha)
    return image.convert("L" if channels == 1 else "RGB")


def is_grey(image: Image.Image) -> bool:
    """Whether an opened picture has one channel, apart from transparency."""
    return image.mode in GREY


def reason(error: Exception, kind: str) -> str:
    """Why a file is no image, in words, behind its name."""
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, which is too many (resize it)"
    told = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # its text shows the address of a BytesIO
        told = "its content is not that of a JPEG" if kind == "JPEG image" else "its content is not that of an image"
    return f"not an intact {kind} ({told})"
