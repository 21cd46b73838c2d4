"""Models that no memory has room for are refused before anything is made of them."""

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

import train
from common import memory
from common.errors import ConfigError
from common.memory import format_bytes
from model.layers.attention import ScaledDotProductAttention
from model.layers.dense import Dense
from model.layers.feed_forward import FeedForward
from model.layers.keep_tokens import KeepTokens
from model.layers.layer_norm import LayerNorm
from model.layers.layer_scale import LayerScale
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.patch_embedding import PatchEmbedding
from model.layers.pooling import ClassTokenPooling
from model.layers.position_embedding import PositionEmbedding
from model.layers.shifted_patches import ShiftedPatches
from optim.adamw import AdamW
from optim.schedule import Constant, WarmupCosine
from tests.conftest import Ended
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


def test_a_model_without_blocks_needs_no_memory_for_them() -> None:
    without = ["model.layers=0", "model.pooling=mean", "model.class_token=false"]
    sizes = ["model.mlp_dim=100000000000", "model.image_size=64", "model.heads=100000000000"]
    load_config("baseline", [*without, *sizes], allow_idle=True)
    with pytest.raises(ConfigError, match="d_model=100000000"):
        load_config("baseline", [*without, "model.d_model=100000000"])


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


def test_half_precision_needs_half_for_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dataclasses.asdict(load_config("baseline").model)
    images = size.activations(model).numbers * 100
    monkeypatch.setattr(size, "machine_memory", lambda: 26_000_000 + 3 * images)
    with pytest.raises(ConfigError, match="choose smaller sizes or fewer images"):
        size.check_size(model, images=100)
    size.check_size(model | {"dtype": "bfloat16"}, images=100)


def test_more_layers_than_can_be_compiled_are_refused() -> None:
    """A million layers of width 1 would fit into memory."""
    options = ["model.d_model=4", "model.mlp_dim=1", "model.layers=1001"]
    with pytest.raises(ConfigError, match="at most 1000 layers, as each is compiled, got 1001"):
        load_config("demo", options)
    load_config("demo", [*options[:2], "model.layers=1000"])


@pytest.mark.parametrize("value", ["1", "-1", "1.5", "nan", "inf"])
@pytest.mark.parametrize(
    "option",
    [
        "model.dropout", "model.embedding_dropout", "model.attention_dropout", "model.patch_dropout", "model.drop_path",
        "loss.label_smoothing",
        "optim.beta1", "optim.beta2", "optim.ema", "optim.momentum", "optim.warmup", "data.holdout",
    ],
)  # fmt: skip
def test_every_rate_is_refused_from_1_on_and_below_0(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{option}={value}"):
        load_config("demo", [f"{option}={value}"])


@pytest.mark.parametrize("value", ["1e39", "-1e39", "1e999", "1e-39", "1e-400", "-1e-50"])
@pytest.mark.parametrize(
    "option", ["model.eps", "model.layer_scale", "optim.eps", "optim.learning_rate", "augment.mixup"]
)
def test_what_float32_does_not_hold_is_refused(option: str, value: str) -> None:
    """It would be 0 or infinity in the computation."""
    with pytest.raises(
        ConfigError, match=rf"{option}={value}: expected a number.*; float32 holds 1\.2e-38 to 3\.4e\+38$"
    ):
        load_config("demo", [f"{option}={value}"])
    load_config("demo", ["optim.learning_rate=0.00e-99", "optim.weight_decay=3.4e38", "optim.eps=1.2e-38"])


@pytest.mark.parametrize(
    "make",
    [
        *(lambda rate=rate: ScaledDotProductAttention(rate) for rate in (-1, 1, 1.5, math.nan)),
        *(lambda rate=rate: FeedForward(8, 8, dropout=rate) for rate in (-1, 1, math.nan)),
        *(lambda rate=rate: Constant(rate) for rate in (-1, math.nan, math.inf)),
        *(lambda rate=rate: WarmupCosine(rate, 0, 9) for rate in (-1, math.nan, math.inf)),
        lambda: Dense(0, 4), lambda: Dense(4, -1), lambda: FeedForward(0, 8), lambda: FeedForward(8, 0),
        lambda: LayerNorm(0), lambda: LayerNorm(8, math.inf), lambda: LayerScale(0), lambda: LayerScale(8, math.nan),
        lambda: MultiHeadAttention(0, 1), lambda: MultiHeadAttention(-8, 2),
        lambda: KeepTokens(-0.1), lambda: KeepTokens(1), lambda: KeepTokens(math.nan), lambda: KeepTokens(0.5, -1),
        lambda: ClassTokenPooling(-1), lambda: PatchEmbedding(8, 4, 0, 8), lambda: PatchEmbedding(8, 3, 3, 8),
        lambda: PatchEmbedding(8, 4, 3, 0), lambda: ShiftedPatches(0), lambda: PositionEmbedding((2, 2), 0),
        lambda: AdamW(1e-3, weight_decay=math.nan), lambda: AdamW(1e-3, eps=math.nan),
    ],
)  # fmt: skip
def test_a_layer_is_not_made_with_a_rate_or_size_that_cannot_be(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|rate"):
        make()


@pytest.mark.parametrize(
    ("memory", "options", "message"),
    [
        (
            10**9,
            ["augment.crop_padding=2147483648"],
            "crop_padding=2147483648: a crop could miss the image: choose less than 64",
        ),
        (
            1_500_000,
            ["train.steps_per_dispatch=1000000"],
            "steps_per_dispatch=6: the images of 6 steps take .* and there are",
        ),
        (
            1_500_000,
            ["train.batch_size=48"],
            "error: train.batch_size=48: the images of 1 step take .* and there are",
        ),
        (
            2_000_000,
            ["train.batch_size=48", "train.accumulate=1"],
            "training such a model with 48 images at once takes .* or fewer",
        ),
        (10**9, ["data.workers=2147483648"], "data.workers=2147483648: expected a whole number from 1 to 256"),
    ],
)
def test_what_cannot_be_leaves_no_folder(
    call: Callable[..., Ended], tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    memory: int, options: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(size, "machine_memory", lambda: memory)
    ended = call(train.main, *tiny, "train.eval_batch_size=8", *options, "--device", "cpu", "--run", tmp_path / "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert re.search(message, ended.err), ended.err
    assert list(tmp_path.iterdir()) == []


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
