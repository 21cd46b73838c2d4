"""The benchmark of augmentation: every ingredient is timed as what it is called, beside the step."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import jax
import pytest

from benchmarks import augment as command
from checks.compiled import random_batch, step_of
from data.augment import Augmentation
from training.config import load_config

TINY = (
    "baseline", "model.image_size=8", "model.d_model=4", "model.heads=1", "model.layers=1", "model.mlp_dim=4",
    "train.batch_size=4", "augment.flip=true", "--device", "cpu",
)  # fmt: skip


def test_each_option_of_the_augmentation_is_timed() -> None:
    recipes = command.INGREDIENTS.values()
    for field in fields(Augmentation):
        if field.name not in ("rand_augment_ops", "rand_augment_magnitude", "mix_probability"):  # no cost of their own
            assert any(getattr(recipe, field.name) != field.default for recipe in recipes), field.name
            assert getattr(command.FULL, field.name) != field.default, field.name


def test_a_line_for_each(call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {name: command.INGREDIENTS[name] for name in ("normalization alone", "flip")}
    monkeypatch.setattr(command, "INGREDIENTS", chosen)
    monkeypatch.setattr(command, "FULL", Augmentation(flip=True, crop_padding=1))
    ended = call(command.main, *TINY, "--rounds", "2")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("baseline, batch 4, ")
    names = [line[:32].strip() for line in lines[2:]]
    assert names == [*chosen, "as in baseline", command.STEP, command.WHOLE]
    for line in lines[2:]:
        median, fastest, slowest = map(float, line[32:].split()[:3])
        assert 0 <= fastest <= median <= slowest
    assert lines[-2].endswith("100.0%")


def test_images_with_one_channel_are_timed_as_such() -> None:
    config = load_config("baseline", ["model.channels=1", "augment.policy=trivial_augment"])
    images, labels = random_batch(config)
    step = step_of(config, "cpu")
    assert jax.eval_shape(step.augment, jax.random.key(0), images, labels)[0].shape == images.shape == (64, 64, 64, 1)


def test_bad_rounds(call: Callable[..., Any]) -> None:
    ended = call(command.main, *TINY, "--rounds", "0")
    assert ended.code == 2
    assert "--rounds 0: must be at least 1" in ended.err
