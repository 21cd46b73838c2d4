"""Random erasing, MixUp and CutMix: what becomes of pixels and labels, how much, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.augment.erasing import box_mask, noise, random_erasing
from data.augment.mix import cutmix_weights, mix, mixup_weights, one_hot, random_weights

KEYS = jax.random.split(jax.random.key(5), 1000)


# Random erasing.


def test_erasing_fills_one_box_in_so_many_images() -> None:
    H, W = 40, 30
    images = jnp.full((600, H, W, 3), 7.0)
    result = np.asarray(jax.jit(random_erasing, static_argnums=2)(jax.random.key(0), images, 0.3))
    changed = (result != 7).all(axis=-1)
    np.testing.assert_array_equal(changed, (result != 7).any(axis=-1))  # all channels or none
    erased = changed.any(axis=(1, 2))
    assert 0.2 < erased.mean() < 0.4  # give or take 5 standard deviations
    shares, ratios = [], []
    for mask in changed[erased]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert mask.sum() == len(rows) * len(columns)  # a box and nothing else
        shares.append(mask.mean())
        ratios.append(len(columns) / len(rows))
    assert 0.01 < min(shares) < 0.06
    assert 0.28 < max(shares) < 0.36
    assert 0.25 < min(ratios) < 0.5
    assert 2 < max(ratios) < 4
    values = result[changed]
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert len(np.unique(values[:200], axis=0)) == 200  # noise in each pixel, not one colour


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_erasing_at_the_ends_of_its_range(probability: float, share: float) -> None:
    images = jnp.full((50, 8, 8, 3), 7.0, jnp.bfloat16)
    result = random_erasing(jax.random.key(0), images, probability)
    assert result.dtype == jnp.bfloat16
    assert (np.asarray(result, np.float32) != 7).any(axis=(1, 2, 3)).mean() == share


def test_noise_is_normal() -> None:
    values = np.asarray(noise(jax.random.key(0), (3, 101, 101, 3)))  # no multiple of 4
    assert values.shape == (3, 101, 101, 3)
    for power, moment, tolerance in ((1, 0, 0.02), (2, 1, 0.03), (3, 0, 0.06), (4, 3, 0.15)):
        assert abs((values.astype(float) ** power).mean() - moment) < tolerance, power
    assert len(np.unique(values)) == 256
    flat = values.ravel()
    for lag in range(1, 9):  # four values come from one random number
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 5 / np.sqrt(len(flat))


def test_a_mask_by_hand() -> None:
    mask = box_mask(jnp.array([[1, 0, 2, 3], [-1, 2, 2, 9]]), (3, 4))
    np.testing.assert_array_equal(mask[0], [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]])
    np.testing.assert_array_equal(mask[1], [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]])


# Mixing.


def test_mixing_by_hand() -> None:
    images = jnp.arange(3.0)[:, None, None, None] * jnp.ones((3, 2, 2, 1))
    labels = one_hot(jnp.array([0, 1, 3]), 4, jnp.dtype("float32"))
    weights = jnp.array([[1.0, 1.0], [1.0, 0.0]])
    mixed, soft = mix(images, labels, weights)
    np.testing.assert_array_equal(mixed[0, ..., 0], [[0, 0], [0, 1]])
    np.testing.assert_array_equal(mixed[1, ..., 0], [[1, 1], [1, 0]])
    np.testing.assert_array_equal(mixed[2, ..., 0], [[2, 2], [2, 2]])  # the last one is its own partner
    np.testing.assert_array_equal(soft, [[0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixup_draws_from_the_beta_distribution(alpha: float) -> None:
    weights = np.asarray(jax.jit(jax.vmap(lambda key: mixup_weights(key, (2, 3), alpha)))(KEYS))
    assert weights.shape == (1000, 2, 3)
    assert (weights == weights[:, :1, :1]).all()
    shares = weights[:, 0, 0]
    assert ((shares >= 0) & (shares <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 5 * np.sqrt(variance / 1000)
    assert shares.var() == pytest.approx(variance, rel=0.15)


def test_cutmix_cuts_a_box_of_the_share_that_is_drawn() -> None:
    H, W, alpha = 40, 24, 1.0
    weights = np.asarray(jax.jit(jax.vmap(lambda key: cutmix_weights(key, (H, W), alpha)))(KEYS))
    assert set(np.unique(weights)) == {0, 1}
    whole = []  # boxes that no edge has cut
    for kept in weights:
        rows, columns = np.flatnonzero((kept == 0).any(axis=1)), np.flatnonzero((kept == 0).any(axis=0))
        assert (kept == 0).sum() == len(rows) * len(columns)
        if len(rows) and rows[0] > 0 and rows[-1] < H - 1 and columns[0] > 0 and columns[-1] < W - 1:
            whole.append((len(rows), len(columns)))
    heights, widths = np.array(whole).T
    assert np.abs(heights / widths - H / W)[widths > 8].max() < 0.35  # in the shape of the image, in whole pixels
    assert heights.max() > 30
    removed = 1 - weights.mean(axis=(1, 2))
    # Uniform share s = 1 - lambda; of a side sqrt(s) with its middle anywhere, 1 - sqrt(s)/4 is inside on average.
    side = np.sqrt(np.linspace(0, 1, 10_001))
    assert removed.mean() == pytest.approx(((side * (1 - side / 4)) ** 2).mean(), abs=0.04)
    middle = (weights == 0).mean(axis=0)
    assert middle[0, 0] < middle[H // 2, W // 2]


def test_both_are_drawn_equally_often_and_mix_so_many_batches() -> None:
    draw = jax.jit(jax.vmap(lambda key: random_weights(key, (20, 20), 0.8, 1.0, 0.7)))
    weights = np.asarray(draw(KEYS))
    flat = (weights == weights[:, :1, :1]).all(axis=(1, 2))
    untouched = (weights == 1).all(axis=(1, 2))
    mixup, cutmix = flat & ~untouched, ~flat
    assert abs(mixup.mean() - 0.35) < 0.08
    assert abs(cutmix.mean() - 0.35) < 0.08  # a few of its boxes are smaller than a pixel
    assert abs(untouched.mean() - 0.3) < 0.08


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
def test_one_of_them_alone(mixup: float, cutmix: float) -> None:
    weights = np.asarray(jax.jit(jax.vmap(lambda key: random_weights(key, (16, 16), mixup, cutmix, 1.0)))(KEYS[:200]))
    constant = (weights == weights[:, :1, :1]).all(axis=(1, 2))
    assert constant.all() if mixup else constant.mean() < 0.1


def test_a_label_that_is_no_class_is_not_a_number() -> None:
    rows = np.asarray(one_hot(jnp.array([2, 3, -1]), 3, jnp.dtype("float32")))
    np.testing.assert_array_equal(rows[0], [0, 0, 1])
    assert np.isnan(rows[1:]).all()
