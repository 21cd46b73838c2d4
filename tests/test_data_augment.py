"""Normalisation, flips and crops: what they do to single pixels, how often, and that they work inside jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.augment import normalize, random_crop, random_flip


def images_of(n: int, height: int = 6, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (n, height, width, 3), dtype=np.uint8)  # no zeros


MEAN, STD = (0.48, 0.45, 0.40), (0.28, 0.27, 0.26)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 2e-6), (jnp.bfloat16, 1e-2)])
def test_normalize_is_the_formula(dtype: jnp.dtype, tolerance: float) -> None:
    images = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 1, 1, 3))  # every value
    got = normalize(jnp.asarray(images), MEAN, STD, dtype)
    assert got.dtype == dtype
    want = (images / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=tolerance, atol=tolerance)


def test_normalize_keeps_double_precision(float64: None) -> None:
    images = images_of(3)
    got = normalize(jnp.asarray(images), MEAN, STD, jnp.float64)
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, (images / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-13, atol=1e-13)


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = images_of(400)
    flipped = np.asarray(random_flip(jax.random.key(0), jnp.asarray(images)))
    assert flipped.dtype == np.uint8
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250  # 200, give or take 5 standard deviations


def test_crop_shifts_each_image_and_fills_with_black() -> None:
    padding, images = 2, images_of(500)
    cropped = np.asarray(random_crop(jax.random.key(1), jnp.asarray(images), padding))
    assert cropped.dtype == np.uint8
    assert cropped.shape == images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    counts = np.zeros((5, 5), int)
    for image, around in zip(cropped, padded, strict=True):
        matches = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (around[top : top + 6, left : left + 5] == image).all()
        ]
        assert len(matches) == 1
        counts[matches[0]] += 1
    assert counts.min() > 2  # 20 each on average: all 25 places occur, about as often
    assert counts.max() < 45


def test_crop_without_padding_changes_nothing() -> None:
    images = images_of(3)
    np.testing.assert_array_equal(random_crop(jax.random.key(0), jnp.asarray(images), 0), images)


@pytest.mark.parametrize("augment", [random_flip, lambda key, images: random_crop(key, images, 2)])
def test_the_key_alone_decides(augment: object) -> None:
    assert callable(augment)
    images = jnp.asarray(images_of(50))
    first = augment(jax.random.key(0), images)
    np.testing.assert_array_equal(first, jax.jit(augment)(jax.random.key(0), images))
    assert (np.asarray(first) != np.asarray(augment(jax.random.key(1), images))).any()
