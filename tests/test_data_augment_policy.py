"""TrivialAugment and RandAugment: each of the fourteen operations at its strength against Pillow, and how often."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from data.augment import policy
from data.augment.policy import OPERATIONS, Ranges, operate, rand_augment, trivial_augment
from tests.augment_images import grey_images, levels_apart, pillow, varied_images

IMAGES, GREY = varied_images()[:, :, :18], grey_images()[:, :, :18]
RANGES = Ranges(shear=0.9, translate=(9.0, 5.0), rotate=120.0, factor=0.75, bits=6)
STRENGTHS = np.array([0, 1, 2, 3, 4, 6, 7, 8]) / 8  # all products are exact, so both sides have the same factors


def transform(*data: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST)


def expected(name: str, s: float, sign: int) -> Callable[[Image.Image], Image.Image]:
    """What the operation of this name is in Pillow, at strength s of RANGES."""
    factor = 1 + sign * s * 0.75
    return {
        "identity": lambda image: image,
        "shear_x": transform(1, sign * s * 0.9, 0, 0, 1, 0),
        "shear_y": transform(1, 0, 0, sign * s * 0.9, 1, 0),
        "translate_x": transform(1, 0, sign * round(9 * s), 0, 1, 0),
        "translate_y": transform(1, 0, 0, 0, 1, sign * round(5 * s)),
        "rotate": lambda image: image.rotate(sign * s * 120, Image.Resampling.NEAREST),
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "posterize": lambda image: ImageOps.posterize(image, 8 - round(6 * s)),
        "solarize": lambda image: ImageOps.solarize(image, round(256 * (1 - s))),
        "color": lambda image: ImageEnhance.Color(image).enhance(factor),
        "contrast": lambda image: ImageEnhance.Contrast(image).enhance(factor),
        "brightness": lambda image: ImageEnhance.Brightness(image).enhance(factor),
        "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(factor),
    }[name]


compiled_operate = jax.jit(operate, static_argnums=4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_pillow(name: str, sign: int) -> None:
    operation = jnp.full(len(IMAGES), OPERATIONS.index(name))
    for images in (IMAGES, GREY):
        ours = compiled_operate(images, operation, jnp.asarray(STRENGTHS), jnp.full(len(images), float(sign)), RANGES)
        theirs = [expected(name, s, sign)(image) for s, image in zip(STRENGTHS, pillow(images), strict=True)]
        apart = levels_apart(ours, theirs)
        if name in ("shear_x", "shear_y", "rotate"):  # a place on the border of two pixels may go either way
            assert apart.any(axis=-1).mean() < 0.01
        else:
            assert apart.max() <= 1
            assert (apart > 0).mean() < (0.02 if name == "autocontrast" else 1e-3)


def test_each_image_has_its_own_operation() -> None:
    """A batch with all of them at once: the same as each alone."""
    count = len(OPERATIONS)
    images = np.repeat(IMAGES[6:7], count, axis=0)
    strength, sign = jnp.full(count, 0.6), jnp.asarray([1.0, -1.0] * (count // 2))
    together = compiled_operate(images, jnp.arange(count), strength, sign, RANGES)
    for i in range(count):
        alone = compiled_operate(images[: len(IMAGES)], jnp.full(8, i), strength[:8], jnp.full(8, sign[i]), RANGES)
        np.testing.assert_array_equal(together[i], alone[0], err_msg=OPERATIONS[i])
    assert len({np.asarray(image).tobytes() for image in together}) == count


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is handed to `operate`, call by call, in place of computing it."""
    calls: list[tuple] = []

    def record(images: jax.Array, *arguments: object) -> jax.Array:
        calls.append(arguments)
        return images

    monkeypatch.setattr(policy, "operate", record)
    return calls


def assert_uniform(values: np.ndarray, count: int) -> None:
    shares = np.bincount(values, minlength=count) / len(values)
    assert len(shares) == count
    assert np.abs(shares - 1 / count).max() < 5 * np.sqrt(1 / count / len(values))


def test_trivial_augment_draws_uniformly(drawn: list[tuple]) -> None:
    trivial_augment(jax.random.key(0), jnp.zeros((20_000, 2, 2, 3), jnp.uint8))
    [(operation, strength, sign, ranges)] = drawn
    assert_uniform(np.asarray(operation), 14)
    assert_uniform(np.round(np.asarray(strength) * 30).astype(int), 31)
    assert_uniform((np.asarray(sign) > 0).astype(int), 2)
    assert set(np.unique(sign)) == {-1, 1}
    assert np.abs(np.corrcoef([operation, strength, sign]) - np.eye(3)).max() < 0.04
    assert ranges == Ranges(shear=0.99, translate=(32, 32), rotate=135, factor=0.99, bits=6)  # table 1 of the paper


@pytest.mark.parametrize(
    "augment", [trivial_augment, lambda key, images: rand_augment(key, images, 2, 5.0)], ids=["trivial", "rand"]
)
def test_grey_images_get_all_operations_but_color_equally_often(drawn: list[tuple], augment: Callable) -> None:
    """Another operation is drawn in place of `color`, and not nothing: the augmentation is as strong."""
    augment(jax.random.key(0), jnp.zeros((20_000, 2, 2, 1), jnp.uint8))
    color = OPERATIONS.index("color")
    for operation, *_ in drawn:
        chosen = np.asarray(operation)
        assert not (chosen == color).any()
        assert_uniform(chosen - (chosen > color), 13)


def test_what_is_drawn_for_colour_images_stays_what_it_was(drawn: list[tuple]) -> None:
    """A run that is published, or resumed, is augmented as it was."""
    key, images = jax.random.key(3), jnp.zeros((50, 2, 2, 3), jnp.uint8)
    trivial_augment(key, images)
    rand_augment(key, images, 2, 5.0)
    keys = [jax.random.split(key, 3)[0], *(jax.random.split(of_round)[0] for of_round in jax.random.split(key, 2))]
    for (operation, *_), own in zip(drawn, keys, strict=True):
        np.testing.assert_array_equal(operation, jax.random.randint(own, (50,), 0, 14))


def test_rand_augment_draws_as_many_as_asked_for_at_one_strength(drawn: list[tuple]) -> None:
    rand_augment(jax.random.key(0), jnp.zeros((20_000, 4, 8, 3), jnp.uint8), 3, 7.0)
    assert len(drawn) == 3
    for operation, strength, sign, ranges in drawn:
        assert_uniform(np.asarray(operation), 14)
        assert_uniform((np.asarray(sign) > 0).astype(int), 2)
        np.testing.assert_allclose(strength, 0.7)
        assert ranges.translate == pytest.approx((8 * 150 / 331, 4 * 150 / 331))
        assert (ranges.shear, ranges.rotate, ranges.factor, ranges.bits) == (0.3, 30, 0.9, 4)
    operations = [operation for operation, *_ in drawn]
    assert np.abs(np.corrcoef(operations) - np.eye(3)).max() < 0.04


def test_rand_augment_without_strength_leaves_what_has_none() -> None:
    """Autocontrast and equalize know no strength; all others do nothing at 0."""
    images = np.repeat(IMAGES[:1], 200, axis=0)
    result = np.asarray(jax.jit(rand_augment, static_argnums=(2, 3))(jax.random.key(0), images, 1, 0.0))
    changed = (result != images).any(axis=(1, 2, 3)).mean()
    assert 0.05 < changed < 0.25  # 2 of 14


def test_operations_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def count_up(images: jax.Array, *_: object) -> jax.Array:
        return images + 1

    monkeypatch.setattr(policy, "operate", count_up)
    images = jnp.zeros((2, 2, 2, 3), jnp.uint8)
    np.testing.assert_array_equal(rand_augment(jax.random.key(0), images, 4, 5.0), images + 4)


def test_the_key_alone_decides() -> None:
    images = jnp.asarray(np.concatenate([IMAGES] * 4))
    run = jax.jit(trivial_augment)
    first = run(jax.random.key(0), images)
    np.testing.assert_array_equal(first, run(jax.random.key(0), images))
    assert (np.asarray(first) != np.asarray(run(jax.random.key(1), images))).any()
