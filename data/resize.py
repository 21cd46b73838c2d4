"""Bringing an image to a size."""

from __future__ import annotations

from PIL import Image

from data.form import Resize


def fit(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    H, W = size
    if (image.height, image.width) == size:
        return image
    if resize == "crop":
        scale = max(H / image.height, W / image.width)
        width, height = W / scale, H / scale
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.resize((W, H), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    if resize == "pad":
        scale = min(H / image.height, W / image.width)
        height, width = max(1, round(image.height * scale)), max(1, round(image.width * scale))
        padded = Image.new(image.mode, (W, H))
        padded.paste(image.resize((width, height), Image.Resampling.BICUBIC), ((W - width) // 2, (H - height) // 2))
        return padded
    return image.resize((W, H), Image.Resampling.BICUBIC)
