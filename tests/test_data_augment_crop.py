"""Flips, crops and the boxes that are drawn: what they do to single pixels, and how often. Resizing is Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from data.augment.boxes import random_boxes
from data.augment.crop import crop_and_resize, random_crop, random_flip, random_resized_crop, triangle_weights
from tests.augment_images import HEIGHT, WIDTH, grey_images, images_of, levels_apart, pillow, varied_images


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


# Boxes.


@pytest.mark.parametrize(("area", "aspect"), [((0.02, 1 / 3), (0.3, 1 / 0.3)), ((0.25, 1.0), (3 / 4, 4 / 3))])
def test_boxes_have_the_areas_and_shapes_that_were_asked_for(
    area: tuple[float, float], aspect: tuple[float, float]
) -> None:
    H = W = 240
    boxes = np.asarray(random_boxes(jax.random.key(2), 4000, (H, W), area, aspect))
    top, left, height, width = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (top + height <= H).all()
    assert (left + width <= W).all()
    share, ratio = height * width / (H * W), width / height
    assert share.min() > 0.95 * area[0]  # sides are whole pixels
    assert area[0] + 0.95 * (area[1] - area[0]) < share.max() <= area[1] * 1.02
    assert aspect[0] * 0.97 < ratio.min() < aspect[0] * 1.1
    assert aspect[1] * 0.9 < ratio.max() < aspect[1] * 1.03
    if area[1] < 0.5:  # all fit, so nothing was drawn again
        assert abs(share.mean() - np.mean(area)) < 0.006  # 4 standard deviations
        assert abs((ratio > 1).mean() - 0.5) < 0.032
    for corner, room in ((top, H - height), (left, W - width)):  # uniform among the places inside, both ends included
        assert corner.min() == 0
        assert (corner == room)[room > 0].any()
        place = (corner[room > 20] / room[room > 20])[:, None]
        assert np.abs(np.histogram(place, 4, (0, 1))[0] / len(place) - 0.25).max() < 0.05


def test_a_box_that_can_hardly_fit_is_cut_to_the_image() -> None:
    boxes = np.asarray(random_boxes(jax.random.key(0), 50, (10, 40), (0.9, 1.0), (0.5, 1.0)))
    assert (boxes[:, 2] == 10).all()
    assert ((boxes[:, 0] == 0) & (boxes[:, 1] + boxes[:, 3] <= 40)).all()
    np.testing.assert_array_equal(
        random_boxes(jax.random.key(0), 2, (6, 6), (1.0, 1.0), (1.0, 1.0)), [[0, 0, 6, 6]] * 2
    )


# Resizing.


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (9, 31), (7, 8), (40, 41)], ids=str)
def test_resize_is_that_of_pillow(size: tuple[int, int]) -> None:
    """Larger and smaller; Pillow rounds to whole levels between its two passes."""
    boxes = np.array([[0, 0, HEIGHT, WIDTH], [3, 2, 11, 17], [9, 0, 9, 23], [0, 16, 5, 7]] * 2)
    for images in (varied_images(), grey_images()):
        ours = crop_and_resize(jnp.asarray(images), jnp.asarray(boxes), size)
        theirs = [
            image.resize(size[::-1], Image.Resampling.BILINEAR, (left, top, left + width, top + height))
            for image, (top, left, height, width) in zip(pillow(images), boxes, strict=True)
        ]
        apart = levels_apart(ours, theirs)
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.25


def test_a_box_of_the_whole_image_changes_nothing() -> None:
    images = varied_images()
    boxes = jnp.array([[0, 0, HEIGHT, WIDTH]] * len(images))
    np.testing.assert_array_equal(crop_and_resize(jnp.asarray(images), boxes, (HEIGHT, WIDTH)), images)


def test_weights_by_hand() -> None:
    """Twice as many pixels, then half as many: the triangle is widened when shrinking."""
    grown = triangle_weights(jnp.array([1.0]), jnp.array([2.0]), 4, 4)[0]
    np.testing.assert_allclose(grown[0], [0.25, 0.75, 0, 0])
    np.testing.assert_allclose(grown[1], [0, 0.75, 0.25, 0])
    shrunk = triangle_weights(jnp.array([0.0]), jnp.array([8.0]), 8, 4)[0]
    np.testing.assert_allclose(shrunk[1], np.array([0, 1, 3, 3, 1, 0, 0, 0]) / 8, atol=1e-6)
    np.testing.assert_allclose(shrunk.sum(axis=-1), 1, rtol=1e-6)


def test_resized_crops_are_parts_of_the_image_of_the_size_asked_for() -> None:
    """On a picture whose channels say where they are, the first and last pixel tell what was cut out."""
    side, smallest = 64, 0.3
    y, x = np.mgrid[:side, :side]
    ramps = np.stack([2 * y, 2 * x, x], axis=-1).astype(np.uint8)
    images = jnp.broadcast_to(jnp.asarray(ramps), (300, side, side, 3))
    cropped = np.asarray(random_resized_crop(jax.random.key(3), images, smallest)).astype(int)
    height = (cropped[:, -1, 0, 0] - cropped[:, 0, 0, 0]) / 2
    width = (cropped[:, 0, -1, 1] - cropped[:, 0, 0, 1]) / 2
    share = height * width / (side - 1) ** 2
    assert 0.25 < share.min() < 0.4
    assert share.max() > 0.9
    assert abs(share.mean() - 0.62) < 0.06  # uniform from 0.3 to 1, with some of the largest drawn again
    assert len({tuple(corner) for corner in cropped[:, 0, 0]}) > 150


@pytest.mark.parametrize(
    "augment",
    [random_flip, lambda key, images: random_crop(key, images, 2), lambda key, i: random_resized_crop(key, i, 0.3)],
)
def test_the_key_alone_decides(augment: object) -> None:
    assert callable(augment)
    images = jnp.asarray(images_of(50))
    first = augment(jax.random.key(0), images)
    np.testing.assert_array_equal(first, jax.jit(augment)(jax.random.key(0), images))
    assert (np.asarray(first) != np.asarray(augment(jax.random.key(1), images))).any()
