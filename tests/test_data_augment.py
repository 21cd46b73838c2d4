"""Normalisation, and the augmentation as a whole: its order, its options, what it returns and what it refuses."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.augment import Augmentation, Keys, normalize, split_keys
from data.augment.crop import random_flip
from tests.augment_images import images_of

MEAN, STD = (0.48, 0.45, 0.40), (0.28, 0.27, 0.26)
CLASSES = 5
LABELS = np.array([0, 1, 2, 3, 4, 0], np.int32)
FULL = Augmentation(
    flip=True, crop_padding=2, resized_crop=0.4, color_jitter=0.3, policy="trivial_augment", erasing=0.5, mixup=0.8,
    cutmix=1.0,
)  # fmt: skip


@partial(jax.jit, static_argnums=(0, 4))
def compiled(augmentation: Augmentation, key: jax.Array, images: jax.Array, labels: jax.Array, dtype: object) -> tuple:
    return augmentation(key, images, labels, MEAN, STD, CLASSES, dtype)


def apply(augmentation: Augmentation, images: np.ndarray, seed: int = 0, dtype: object = jnp.float32) -> tuple:
    return compiled(augmentation, jax.random.key(seed), images, LABELS[: len(images)], dtype)


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


def test_by_default_images_are_normalized_and_labels_left_alone() -> None:
    images = images_of(6)
    pixels, labels = apply(Augmentation(), images)
    np.testing.assert_allclose(pixels, normalize(jnp.asarray(images), MEAN, STD, jnp.float32), rtol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.int32


@pytest.mark.parametrize(
    "options",
    [
        {"flip": True}, {"crop_padding": 2}, {"resized_crop": 0.3}, {"color_jitter": 0.4}, {"erasing": 0.9},
        {"policy": "trivial_augment"}, {"policy": "rand_augment"}, {"mixup": 0.8}, {"cutmix": 1.0},
    ],
    ids=str,
)  # fmt: skip
def test_each_option_alone_changes_something(options: dict) -> None:
    images = images_of(6, 16, 12)
    pixels, labels = apply(Augmentation(**options), images, seed=1)
    assert pixels.shape == images.shape
    assert pixels.dtype == jnp.float32
    assert (np.asarray(pixels) != np.asarray(apply(Augmentation(), images)[0])).any()
    assert labels.shape == ((6, CLASSES) if options.keys() & {"mixup", "cutmix"} else (6,))


@pytest.mark.parametrize("policy", ["trivial_augment", "rand_augment"])
def test_everything_at_once_from_a_key(policy: str) -> None:
    images = images_of(6, 16, 12)
    full = replace(FULL, policy=policy, rand_augment_ops=1)
    pixels, labels = apply(full, images, dtype=jnp.bfloat16)
    assert (pixels.shape, pixels.dtype) == (images.shape, jnp.bfloat16)
    assert (labels.shape, labels.dtype) == ((6, CLASSES), jnp.float32)  # half precision is for pixels alone
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    again, other = apply(full, images, dtype=jnp.bfloat16), apply(full, images, seed=1, dtype=jnp.bfloat16)
    np.testing.assert_array_equal(pixels, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert (np.asarray(pixels) != np.asarray(other[0])).any()


GREY_OPTIONS = [
    {"flip": True}, {"crop_padding": 2}, {"resized_crop": 0.3}, {"erasing": 0.9}, {"mixup": 0.8}, {"cutmix": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("options", [*GREY_OPTIONS, {"color_jitter": 0.4}, {"policy": "trivial_augment"}], ids=str)
def test_one_channel_stays_one_channel(options: dict) -> None:
    """What changes no colours does to one channel what it does to three equal ones, but for the noise of erasing."""
    images, key = images_of(6, 16, 12)[..., :1], jax.random.key(1)
    run = jax.jit(Augmentation(**options), static_argnums=(3, 4, 5, 6))
    pixels, labels = run(key, images, LABELS, MEAN[:1], STD[:1], CLASSES, jnp.float32)
    assert pixels.shape == images.shape
    assert (np.asarray(pixels) != np.asarray(normalize(jnp.asarray(images), MEAN[:1], STD[:1], jnp.float32))).any()
    three, same = run(key, images.repeat(3, axis=-1), LABELS, MEAN[:1] * 3, STD[:1] * 3, CLASSES, jnp.float32)
    if "policy" not in options:
        np.testing.assert_array_equal(labels, same)
        changed = ~np.isclose(pixels, three[..., :1], atol=1e-6)
        assert not changed.any() or "erasing" in options


def test_what_one_channel_does_without_is_told() -> None:
    assert FULL.left_out(1) == replace(FULL, policy="rand_augment").left_out(1) == ("saturation", "color")
    assert Augmentation(color_jitter=0.1).left_out(1) == ("saturation",)
    assert Augmentation(policy="rand_augment").left_out(1) == ("color",)
    assert replace(FULL, color_jitter=0.0, policy="none").left_out(1) == FULL.left_out(3) == ()


def test_statistics_of_another_number_of_channels_are_refused() -> None:
    """NumPy's rules would make three channels of one."""
    images = jnp.asarray(images_of(6))
    with pytest.raises(ValueError, match="mean and std have 3 and 3 numbers, but the images have 1 channel"):
        apply(Augmentation(), images[..., :1])
    with pytest.raises(ValueError, match="mean and std have 3 and 1 numbers, but the images have 3 channels"):
        normalize(images, MEAN, STD[:1], jnp.float32)


def test_the_order_of_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    order, keys = [], []

    def recorded(name: str):
        def part(key: jax.Array, images: jax.Array, *arguments: object) -> jax.Array:
            order.append((name, str(images.dtype), *arguments))
            keys.append(key)
            return images

        return part

    for name in ("random_resized_crop", "random_flip", "random_crop", "color_jitter", "rand_augment", "random_erasing"):
        monkeypatch.setattr(f"data.augment.augmentation.{name}", recorded(name))
    images = jnp.asarray(images_of(6))
    full = replace(FULL, policy="rand_augment", rand_augment_ops=3, rand_augment_magnitude=4.0, mixup=0.0, cutmix=0.0)
    full(jax.random.key(0), images, jnp.asarray(LABELS), MEAN, STD, CLASSES, jnp.float32)
    assert order == [
        ("random_resized_crop", "uint8", 0.4),
        ("random_flip", "uint8"),
        ("random_crop", "uint8", 2),
        ("color_jitter", "uint8", 0.3),
        ("rand_augment", "uint8", 3, 4.0),
        ("random_erasing", "float32", 0.5),
    ]
    assert len(set(map(id, keys))) == len(order)  # each part has one of its own


def test_labels_go_with_the_pixels_that_are_seen() -> None:
    """Pictures of one colour each: how much of two colours is in a mixed picture is what its label says."""
    colours = np.linspace(10, 250, 6).round().astype(np.uint8)
    images = np.broadcast_to(colours[:, None, None, None], (6, 8, 8, 3))
    own = np.asarray(normalize(jnp.asarray(images), MEAN, STD, jnp.float32)).mean(axis=(1, 2, 3))
    for seed in range(12):
        pixels, labels = apply(Augmentation(mixup=0.8, cutmix=1.0), images, seed)
        share = np.asarray(labels)[1, 1]  # image 1 has a class that its partner, image 0, has not
        mean = np.asarray(pixels)[1].mean()
        assert mean == pytest.approx(share * own[1] + (1 - share) * own[0], abs=1e-4)


def test_batches_are_mixed_as_often_as_asked_for() -> None:
    run = jax.jit(
        jax.vmap(
            lambda key: Augmentation(mixup=0.8, mix_probability=0.25)(
                key, images_of(2, 1, 1), np.array([0, 1]), MEAN, STD, 2, jnp.float32
            )[1]
        )
    )
    labels = np.asarray(run(jax.random.split(jax.random.key(0), 400)))
    assert 0.14 < (labels[:, 0, 0] < 1).mean() < 0.36  # 5 standard deviations
    assert apply(Augmentation(mixup=0.8, mix_probability=0.0), images_of(6))[1].shape == (6,)


def test_new_options_leave_the_random_numbers_of_others_alone() -> None:
    """A flip is the same flip, whatever else is on: each part of each image has a key of its own."""
    images = images_of(6, 4, 4)
    alone = np.asarray(apply(Augmentation(flip=True), images)[0])
    own = jax.random.split(jax.random.split(jax.random.key(0))[0], 6)
    flip_keys = [jax.random.split(key)[0] for key in own]  # the first of any number of keys
    flipped = jnp.concatenate([random_flip(key, jnp.asarray(images[i : i + 1])) for i, key in enumerate(flip_keys)])
    np.testing.assert_allclose(alone, normalize(flipped, MEAN, STD, jnp.float32), rtol=1e-6)
    erased = np.asarray(apply(Augmentation(flip=True, erasing=1.0), images)[0])
    same = (alone == erased).all(axis=-1)
    assert same.any(axis=(1, 2)).all()
    assert not same.all()


def test_equal_options_are_one_program() -> None:
    assert hash(Augmentation(flip=True)) == hash(Augmentation(flip=True))
    assert Augmentation(flip=True) != Augmentation()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": "auto_augment"}, "policy must be none, trivial_augment or rand_augment, got auto_augment"),
        ({"resized_crop": 0.0}, "resized_crop must be above 0 and at most 1, or null, got 0.0"),
        ({"resized_crop": 1.5}, "resized_crop must be above 0"),
        ({"crop_padding": -1}, "crop_padding must be at least 0, got -1"),
        ({"color_jitter": -0.1}, "color_jitter must be at least 0"),
        ({"mixup": -1.0}, "mixup must be at least 0"),
        ({"cutmix": -1.0}, "cutmix must be at least 0"),
        ({"rand_augment_ops": 0}, "rand_augment_ops must be from 1 to 100, got 0"),
        ({"rand_augment_magnitude": 10.5}, "rand_augment_magnitude must be from 0 to 10, got 10.5"),
        ({"rand_augment_magnitude": -1.0}, "rand_augment_magnitude must be from 0 to 10"),
        ({"erasing": 1.1}, "erasing is a probability, from 0 to 1, got 1.1"),
        ({"mix_probability": -0.1}, "mix_probability is a probability"),
    ],
)
def test_options_out_of_range(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Augmentation(**options)


def test_an_image_is_augmented_alike_in_any_part_of_a_batch() -> None:
    """With the keys of the batch: whole, and each pair alone."""
    images, labels = jnp.asarray(images_of(6)), jnp.asarray(LABELS)
    keys = split_keys(jax.random.key(5), 6)
    augmentation = replace(FULL, policy="none", resized_crop=None)  # which take long to compile
    whole = compiled(augmentation, jax.random.key(5), images, labels, jnp.float32)
    parts = [
        compiled(augmentation, Keys(keys.images[pair], keys.mix), images[pair], labels[pair], jnp.float32)
        for pair in (slice(0, 2), slice(2, 4), slice(4, 6))
    ]
    for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(together, jnp.concatenate(apart), atol=1e-5)
