"""What images are brought to before they are stored: a size, a number of channels, and by which way to that size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Resize = Literal["crop", "squash", "pad"]
Broken = Literal["refuse", "skip"]


@dataclass(frozen=True)
class Form:
    """The form of the images of a loaded data set.

    Attributes:
        size: height and width, in pixels; None: that of the data, which must then be the same for all images.
        channels: 1 (grey) or 3 (RGB); None: those of the data.
        resize: how an image of another shape gets the size. crop: scaled until it covers it, and what sticks out is cut
            off, equally on both sides. squash: scaled in each direction by itself. pad: scaled until it fits, with
            black around it.
        broken: an image that cannot be decoded is refused, or skipped.
    """

    size: tuple[int, int] | None = None
    channels: Literal[1, 3] | None = None
    resize: Resize = "crop"
    broken: Broken = "refuse"


class Target(NamedTuple):
    """What each image is brought to, when no question is left.

    Attributes:
        size: height and width, in pixels.
        channels: 1 or 3.
        resize: see `Form`.
        same_as: the image whose size all must have; "" where they are brought to it.
        jpeg: all must be JPEG files, else they may have any format.
    """

    size: tuple[int, int]
    channels: int = 3
    resize: Resize = "crop"
    same_as: str = ""
    jpeg: bool = False
