"""What images are brought to before they are stored: a size, a number of channels, and by which way to that size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resize = Literal["crop", "squash", "pad"]


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
    broken: Literal["refuse", "skip"] = "refuse"
