"""The single operations against Pillow, to the level: affine maps, lookup tables and blends."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from data.augment import affine as maps
from data.augment import tables
from data.augment.blend import blend, grey, mean_grey, saturation, sharpness, smooth
from data.augment.jitter import color_jitter
from data.augment.materialize import materialize
from tests.augment_images import HEIGHT, WIDTH, grey_images, images_of, levels_apart, pillow, varied_images

IMAGES = varied_images()
GREY = grey_images()
colour_and_grey = pytest.mark.parametrize("images", [IMAGES, GREY], ids=["colour", "grey"])
FACTORS = np.array([0.01, 0.5, 0.9, 1.0, 1.1, 1.37, 1.99, 0.0], np.float32)


# Affine maps.


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("name", "amounts", "data"),
    [
        ("shear_x", [0.03, 0.31, 0.99], lambda a: (1, a, 0, 0, 1, 0)),
        ("shear_y", [0.03, 0.31, 0.99], lambda a: (1, 0, 0, a, 1, 0)),
        ("translate_x", [1, 7, 30], lambda a: (1, 0, a, 0, 1, 0)),
        ("translate_y", [1, 7, 30], lambda a: (1, 0, 0, 0, 1, a)),
    ],
)
def test_shears_and_translations_are_those_of_pillow(
    name: str, amounts: list[float], data: Callable[[float], tuple], sign: int
) -> None:
    images = images_of(len(amounts), HEIGHT, WIDTH)
    signed = [sign * amount for amount in amounts]
    ours = maps.affine(jnp.asarray(images), getattr(maps, name)(jnp.asarray(signed, jnp.float32)))
    theirs = [
        image.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, data(amount), Image.Resampling.NEAREST)
        for image, amount in zip(pillow(images), signed, strict=True)
    ]
    apart = levels_apart(ours, theirs).any(axis=-1)
    assert not apart[:, 1:, 1:].any()  # these amounts put no place on the border of two pixels


@pytest.mark.parametrize(
    ("size", "degrees"),
    [((HEIGHT, WIDTH), [1.0, -13.5, 30.0, -77.0, 135.0, 180.0]), ((18, 18), [0.0, 90.0, -90.0, 45.0])],
    ids=["any angle", "quarter turns"],
)
def test_rotation_is_that_of_pillow(size: tuple[int, int], degrees: list[float]) -> None:
    images = images_of(len(degrees), *size)
    ours = maps.affine(jnp.asarray(images), maps.rotate(jnp.asarray(degrees), size))
    theirs = [
        image.rotate(angle, Image.Resampling.NEAREST) for image, angle in zip(pillow(images), degrees, strict=True)
    ]
    apart = levels_apart(ours, theirs).any(axis=-1)
    assert apart.mean(axis=(1, 2)).max() < 0.02  # places that lie on the border of two pixels


def test_no_map_is_no_change_and_small_shifts_are_what_they_say() -> None:
    images = images_of(4)
    identity = jnp.broadcast_to(jnp.asarray(maps.IDENTITY), (4, 2, 3))
    np.testing.assert_array_equal(maps.affine(jnp.asarray(images), identity), images)
    left = np.asarray(maps.affine(jnp.asarray(images), maps.translate_x(jnp.full(4, 2.0))))
    np.testing.assert_array_equal(left[:, :, :-2], images[:, :, 2:])
    assert not left[:, :, -2:].any()  # black from outside


# Tables.


def per_channel(table: Callable[[np.ndarray], jax.Array], images: np.ndarray) -> jax.Array:
    return tables.look_up(jnp.asarray(images), table(jnp.asarray(images)))


@colour_and_grey
@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_posterize_is_exactly_that_of_pillow(bits: int, images: np.ndarray) -> None:
    ours = tables.look_up(jnp.asarray(images), tables.posterize(jnp.full(len(images), bits)))
    assert not levels_apart(ours, [ImageOps.posterize(image, bits) for image in pillow(images)]).any()


@colour_and_grey
@pytest.mark.parametrize("threshold", [0, 1, 100, 255, 256])
def test_solarize_is_exactly_that_of_pillow(threshold: int, images: np.ndarray) -> None:
    ours = tables.look_up(jnp.asarray(images), tables.solarize(jnp.full(len(images), threshold)))
    assert not levels_apart(ours, [ImageOps.solarize(image, threshold) for image in pillow(images)]).any()


def test_equalize_is_exactly_that_of_pillow() -> None:
    for images in (IMAGES, GREY):
        theirs = [ImageOps.equalize(image) for image in pillow(images)]
        assert not levels_apart(per_channel(tables.equalize, images), theirs).any()
    large = images_of(2, 64, 64, seed=4) // 3 + 20
    ours = tables.look_up(jnp.asarray(large), tables.equalize(jnp.asarray(large)))
    assert not levels_apart(ours, [ImageOps.equalize(image) for image in pillow(large)]).any()
    assert (np.asarray(ours) != large).mean() > 0.9


@colour_and_grey
def test_autocontrast_is_that_of_pillow_but_for_its_rounding(images: np.ndarray) -> None:
    theirs = [ImageOps.autocontrast(image) for image in pillow(images)]
    ours = np.asarray(per_channel(tables.autocontrast, images)).astype(int)
    assert levels_apart(ours.astype(np.uint8), theirs).max() <= 1
    # The exact quotient is a whole number wherever Pillow, in floating point, has found one less.
    low, high = (extreme(images.astype(int), axis=(1, 2), keepdims=True) for extreme in (np.min, np.max))
    numerator, spread = 255 * (images.astype(int) - low), np.maximum(high - low, 1)
    differs = ours != np.stack([np.asarray(image) for image in theirs]).reshape(ours.shape)
    assert (numerator % spread == 0)[differs].all()
    np.testing.assert_array_equal(ours, np.where(high > low, numerator // spread, images))


@pytest.mark.parametrize(
    ("enhancer", "ours"),
    [
        (ImageEnhance.Brightness, lambda images, f: tables.look_up(images, tables.brightness(f))),
        (ImageEnhance.Contrast, lambda images, f: tables.look_up(images, tables.contrast(images, f))),
        (ImageEnhance.Color, saturation),
        (ImageEnhance.Sharpness, sharpness),
    ],
    ids=["brightness", "contrast", "saturation", "sharpness"],
)
@pytest.mark.parametrize("shift", range(3))
def test_enhancements_are_those_of_pillow(enhancer: type, ours: Callable, shift: int) -> None:
    """All but a handful of values to the bit: a product fused into a sum is rounded once where Pillow rounds twice."""
    factors = np.roll(FACTORS, shift)
    for images in (IMAGES, GREY):
        theirs = [enhancer(image).enhance(float(f)) for image, f in zip(pillow(images), factors, strict=True)]
        apart = levels_apart(ours(jnp.asarray(images), jnp.asarray(factors)), theirs)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 1e-3


@colour_and_grey
def test_grey_and_smooth_are_exactly_those_of_pillow(images: np.ndarray) -> None:
    grey_ones = np.asarray(grey(jnp.asarray(images)))[..., 0]
    np.testing.assert_array_equal(grey_ones, [np.asarray(image.convert("L")) for image in pillow(images)])
    smoothed = [image.filter(ImageFilter.SMOOTH) for image in pillow(images)]
    assert not levels_apart(smooth(jnp.asarray(images)), smoothed).any()
    means = [int(np.asarray(image.convert("L")).mean() + 0.5) for image in pillow(images)]
    np.testing.assert_array_equal(np.asarray(mean_grey(jnp.asarray(images))).ravel(), means)


def test_histogram_counts_every_pixel_in_its_channel() -> None:
    counts = np.asarray(tables.histogram(jnp.asarray(IMAGES)))
    np.testing.assert_array_equal(tables.histogram(jnp.asarray(IMAGES[..., 1:2])), counts[:, 1:2])
    for image, found in zip(IMAGES, counts, strict=True):
        for channel in range(3):
            np.testing.assert_array_equal(found[channel], np.bincount(image[..., channel].ravel(), minlength=256))


def test_materialize_changes_nothing() -> None:
    for channels in (1, 3, 4):
        values = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
        np.testing.assert_array_equal(jax.jit(materialize)(values), values)


# Colour jitter.


def test_color_jitter_is_three_blends_with_factors_within_its_strength() -> None:
    """On grey, where saturation does nothing and the mean stands still under contrast, the brightness shows alone."""
    images = jnp.full((600, 4, 4, 3), 100, jnp.uint8)
    brightness = np.asarray(color_jitter(jax.random.key(0), images, 0.4))
    assert (brightness == brightness[:, :1, :1, :1]).all()
    factors = brightness[:, 0, 0, 0] / 100
    assert 0.58 < factors.min() < 0.62
    assert 1.38 < factors.max() < 1.42
    assert abs(factors.mean() - 1) < 0.045  # 5 standard deviations

    strong = np.asarray(color_jitter(jax.random.key(1), jnp.asarray(images_of(200)), 5.0))
    assert strong.min() == 0
    assert strong.max() == 255


def test_color_jitter_of_grey_images_is_that_of_colour_images_without_saturation() -> None:
    """Of a picture in three equal channels, saturation changes nothing."""
    one = jnp.asarray(GREY)
    jittered = np.asarray(color_jitter(jax.random.key(0), one, 0.4))
    assert (jittered.shape, jittered.dtype) == (GREY.shape, np.uint8)
    np.testing.assert_array_equal(jittered, color_jitter(jax.random.key(0), jnp.repeat(one, 3, axis=-1), 0.4)[..., :1])
    assert (jittered != GREY).any(axis=(1, 2, 3)).sum() >= 7  # one is black and white, which may be cut off again


def test_color_jitter_draws_three_factors() -> None:
    """Contrast changes how far pixels are apart, saturation how far channels are: neither goes with the other."""
    image = np.array([[[110, 100, 90], [130, 120, 110]]], np.uint8)  # grey of 100 and 120, and colours 20 apart
    images = jnp.broadcast_to(jnp.asarray(image), (400, 1, 2, 3))
    result = np.asarray(color_jitter(jax.random.key(2), images, 0.5)).astype(float)
    between_pixels = (result[:, 0, 1] - result[:, 0, 0]).mean(axis=-1) / 20
    between_channels = (result[:, 0, :, 0] - result[:, 0, :, 2]).mean(axis=-1) / 20
    brightness = result.mean(axis=(1, 2, 3)) / 110
    contrast = between_pixels / brightness
    saturation_factor = between_channels / between_pixels
    for factor in (contrast, saturation_factor):
        assert 0.4 < factor.min() < 0.7
        assert 1.3 < factor.max() < 1.7
    assert np.abs(np.corrcoef([brightness, contrast, saturation_factor]) - np.eye(3)).max() < 0.25


def test_blend_ends() -> None:
    images, plain = jnp.asarray(IMAGES), jnp.zeros_like(IMAGES)
    np.testing.assert_array_equal(blend(plain, images, jnp.ones(())), IMAGES)
    assert not np.asarray(blend(plain, images, jnp.zeros(()))).any()
    assert np.asarray(blend(images, plain, jnp.full((), 3.0))).max() == 0  # cut off below
