"""Models that no memory has room for are refused before anything is made of them."""

import dataclasses
import math

import jax
import pytest

from common import memory
from common.errors import ConfigError
from common.memory import format_bytes
from training import size
from training.config import load_config
from training.presets import preset_names


@pytest.mark.parametrize("preset", preset_names())
def test_the_bound_is_below_the_truth_and_near_it(preset: str) -> None:
    model = load_config(preset).model
    bound = sum(part.numbers for part in size.parameters(dataclasses.asdict(model)))
    params = jax.eval_shape(model.init, jax.random.key(0))
    true = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert 0.9 * true < bound <= true


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.d_model=100000000"], "model.d_model=100000000"),
        ([f"model.d_model={'8' * 900}"], "model.d_model=888... (900 digits)"),
        (["model.layers=1000000000"], "model.layers=1000000000"),
        (["model.mlp_dim=100000000000"], "model.mlp_dim=100000000000"),
        (["model.num_classes=100000000000"], "model.num_classes=100000000000"),
        (["model.channels=100000000000"], "model.channels=100000000000"),
        (["model.image_size=8000000"], "model.image_size=8000000"),
        (["model.image_size=[64,640000000000]"], "model.image_size=[64,640000000000]"),
        (["model.image_size=8192", "model.patch_size=1"], "model.patch_size=1"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_the_memory_it_takes(overrides: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=r"such a model takes .*B of memory or more, and there are .*B") as caught:
        load_config("baseline", overrides)
    assert named in str(caught.value)


def test_training_needs_more_than_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """6.4 million parameters: 25 MB of their own, 103 MB with gradients and optimizer."""
    monkeypatch.setattr(size, "machine_memory", lambda: 60_000_000)
    model = dataclasses.asdict(load_config("baseline").model)
    size.check_size(model)
    with pytest.raises(ConfigError, match="training such a model takes 103 MB of memory or more, and there are 60 MB"):
        size.check_size(model, copies=4)
    size.check_size(model, copies=4, memory=200_000_000)  # of another device
    with pytest.raises(ConfigError, match=r"image_size=64 .*: such a model with 1000 images at once takes .* 60 MB"):
        size.check_size(model, images=1000)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (25_300_000_000, "25.3 GB"), (10**18, "1 EB"), (10**30, "10^12 EB")],
)
def test_sizes_as_text(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = memory.machine_memory()
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory.machine_memory() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.machine_memory() >= installed > 1_000_000
