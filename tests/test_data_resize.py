"""Images brought to a size, and the statistics of pixels."""

import numpy as np
import pytest
from PIL import Image

from data.form import Resize
from data.resize import fit
from data.statistics import mean_and_std, sums_of


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """Smooth, so that resizing by any good kernel gives nearly the same."""
    y, x = np.mgrid[0:height, 0:width]
    values = 128 + 60 * np.sin(4 * x / width) + 60 * np.cos(3 * y / height)
    pixels = np.stack([values, values[::-1], 255 - values], axis=-1) if mode == "RGB" else values
    return Image.fromarray(pixels.astype(np.uint8))


WAYS: tuple[Resize, ...] = ("crop", "squash", "pad")


SIZES = ((20, 20), (40, 30), (30, 41), (1, 500), (500, 1), (1, 1), (7, 3), (199, 200))


@pytest.mark.parametrize("resize", WAYS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_any_image_gets_the_size(mode: str, resize: Resize) -> None:
    for height, width in SIZES:
        for size in ((20, 20), (9, 31), (1, 1)):
            fitted = fit(picture(height, width, mode), size, resize)
            assert (fitted.height, fitted.width) == size
            assert fitted.mode == mode


@pytest.mark.parametrize("resize", WAYS)
def test_an_image_of_the_size_is_not_touched(resize: Resize) -> None:
    image = picture(20, 30)
    assert fit(image, (20, 30), resize) is image


def test_squash_uses_the_whole_image() -> None:
    expected = picture(80, 30).resize((20, 20), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(fit(picture(80, 30), (20, 20), "squash"), expected)


@pytest.mark.parametrize(("height", "width", "box"), [(40, 100, (30, 0, 70, 40)), (100, 40, (0, 30, 40, 70))])
def test_crop_cuts_off_the_same_on_both_sides(height: int, width: int, box: tuple[int, int, int, int]) -> None:
    image = picture(height, width)
    np.testing.assert_array_equal(fit(image, (20, 20), "crop"), image.resize((20, 20), Image.Resampling.BICUBIC, box))


def test_crop_rounds_nothing_in_between() -> None:
    """The part that is cut out need not begin at a whole pixel: 15 columns of 2 make 7.5 pixels on each side."""
    image = Image.fromarray(np.tile(np.arange(25, dtype=np.uint8) * 10, (10, 1)))
    row = np.asarray(fit(image, (5, 5), "crop"))[2].astype(int)
    assert row.tolist() == [80, 100, 120, 140, 160]  # 7.5 .. 17.5: means of pairs about the centre, 12


def test_shrinking_does_not_alias() -> None:
    """A pattern of lines finer than the result becomes grey, not lines of another width."""
    lines = np.zeros((96, 96), np.uint8)
    lines[:, ::2] = 255
    for resize in WAYS:
        inner = np.asarray(fit(Image.fromarray(lines), (10, 10), resize))[:, 1:-1].astype(int)
        assert abs(inner - 127).max() < 12


def test_pad_keeps_the_whole_image_in_the_middle_of_black() -> None:
    fitted = np.asarray(fit(Image.new("RGB", (100, 50), (200, 100, 50)), (20, 20), "pad"))
    assert (fitted[5:15] == (200, 100, 50)).all()
    assert not fitted[:5].any()
    assert not fitted[15:].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_exact_for_any_number_of_channels(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.statistics.ROWS", 3)
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 5, channels), dtype=np.uint8)
    mean, std = mean_and_std(200, *sums_of(images))
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-12)
    assert mean_and_std(20, *sums_of(np.full((1, 4, 5, 1), 7, np.uint8))) == ((7 / 255,), (1.0,))
