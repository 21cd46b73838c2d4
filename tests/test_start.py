"""Starting from weights: what fits is taken, positions are resampled, the rest is drawn; the head alone is trained."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train
from common.errors import ConfigError, UserError
from model.loss import CrossEntropy
from model.vit import ViT
from model.weights.fit import find_sources, fit, resample
from model.weights.maps import flatten, to_names
from model.weights.namings import NAMINGS, Naming
from optim.adamw import AdamW
from optim.ema import EMA
from tests.conftest import Ended
from tests.oracle import normal, random_params
from tests.tiny_weights import CLASSES, CONFIG, export, make_run
from training.config import load_config
from training.objective import Classification
from training.start import Start, configured_start, describe, require_fit, starting_state
from training.step import TrainingStep
from training.weights.importing import read_weights

SMALL = ViT(image_size=8, patch_size=4, d_model=8, heads=2, layers=2, mlp_dim=12, num_classes=3)
POSITIONS = "position_embedding/positions"


def fitted(model: ViT, other: ViT = SMALL, head: bool = True) -> Any:
    return fit(model, model.init(jax.random.key(5)), other, random_params(other), head)


def test_all_of_the_same_model_is_taken() -> None:
    found = fitted(SMALL)
    jax.tree.map(np.testing.assert_array_equal, found.params, random_params(SMALL))
    assert tuple(map(len, found.sources)) == (len(flatten(found.params)), 0, 0, 0)


@pytest.mark.parametrize(("model", "head"), [(replace(SMALL, num_classes=5), True), (SMALL, False)])
def test_a_head_for_other_classes_is_drawn(model: ViT, head: bool) -> None:
    found = fitted(model, head=head)
    assert found.sources.drawn == ("head/W", "head/b")
    np.testing.assert_array_equal(found.params["head"]["W"], np.zeros((8, model.num_classes)))
    np.testing.assert_array_equal(found.params["norm"]["gamma"], random_params(SMALL)["norm"]["gamma"])


def test_positions_are_resampled_and_that_of_the_class_token_stays() -> None:
    found = fitted(replace(SMALL, image_size=(16, 12)))
    assert found.sources.resampled == (POSITIONS,)
    old, new = (flatten(tree)[POSITIONS] for tree in (random_params(SMALL), found.params))
    assert new.shape == (1 + 4 * 3, 8)
    np.testing.assert_array_equal(new[0], old[0])
    np.testing.assert_allclose(new[1:], resample(jnp.asarray(old[1:]), (2, 2), (4, 3)), rtol=1e-6)


def test_a_grid_of_another_shape_with_as_many_patches_is_resampled_too() -> None:
    assert fitted(replace(SMALL, image_size=(4, 16))).sources.resampled == (POSITIONS,)


def test_positions_fit_a_model_without_the_class_token_and_with_it() -> None:
    without = replace(SMALL, pooling="mean", class_token=False)
    found, old = fitted(without), flatten(random_params(SMALL))[POSITIONS]
    np.testing.assert_array_equal(flatten(found.params)[POSITIONS], old[1:])
    assert found.sources.unused == ("position_embedding/class_token",)
    back = fitted(SMALL, without)
    assert "position_embedding/class_token" in back.sources.drawn
    drawn = flatten(SMALL.init(jax.random.key(5)))[POSITIONS]
    expected = np.concatenate([drawn[:1], flatten(random_params(without))[POSITIONS]])
    np.testing.assert_array_equal(flatten(back.params)[POSITIONS], expected)


def test_sinusoids_are_a_start_for_learned_positions() -> None:
    found = fitted(SMALL, replace(SMALL, positions="sinusoidal_2d"))
    assert not found.sources.drawn
    assert float(jnp.abs(flatten(found.params)[POSITIONS][1:]).max()) == 1.0  # a cosine of 0


def test_other_sizes_and_other_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing of its encoder fits this model"):
        fitted(replace(SMALL, d_model=12))
    with pytest.raises(ValueError, match=r"its attention has 2 heads, not 4: set model\.heads=2"):
        fitted(replace(SMALL, heads=4))


def test_further_blocks_are_drawn_and_missing_ones_are_named() -> None:
    deeper = fitted(replace(SMALL, layers=3))
    assert all(path.startswith("encoder/block_2/") for path in deeper.sources.drawn)
    assert all(path.startswith("encoder/block_1/") for path in fitted(replace(SMALL, layers=1)).sources.unused)


@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 5)), ((8, 8), (3, 4)), ((6, 5), (6, 9))])
def test_resampling_is_bicubic_and_antialiased_as_in_pytorch(old: tuple[int, int], new: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    table = normal(3, old[0] * old[1], 2).astype(np.float32)
    pictures = torch.from_numpy(table.reshape(1, *old, 2)).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(pictures, size=new, mode="bicubic", antialias=True, align_corners=False)
    expected = theirs.permute(0, 2, 3, 1).reshape(-1, 2).numpy()
    np.testing.assert_allclose(resample(jnp.asarray(table), old, new), expected, atol=1e-5)


def test_resampling_keeps_a_constant_table() -> None:
    np.testing.assert_allclose(resample(jnp.ones((12, 3)), (3, 4), (2, 7)), np.ones((14, 3)), rtol=1e-6)


def training_step(model: ViT, **options: Any) -> TrainingStep:
    return TrainingStep(
        Classification(model, CrossEntropy()), AdamW(1e-2, weight_decay=0.1), (0.5,) * 3, (0.2,) * 3, **options
    )


def start(config: Any, class_ids: tuple[str, ...] = CLASSES.class_ids) -> Any:
    origin = configured_start(config)
    print(*require_fit(origin, config, class_ids), sep="\n")
    return starting_state(training_step(config.model, ema=EMA(0.9)), origin, config.model, class_ids, jax.devices()[0])


def config_from(path: Path, *options: str) -> Any:
    shared = [f"model.{name}={getattr(CONFIG.model, name)}" for name in ("d_model", "heads", "layers", "mlp_dim")]
    sizes = ["model.image_size=8", "model.patch_size=4", "model.num_classes=3", "model.channels=3"]
    return load_config("baseline", [*shared, *sizes, f"train.start_from={path}", *options])


@pytest.mark.parametrize("names", ["run", "own", "google"])
def test_a_training_starts_from_a_run_or_a_file(names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    path = run.path if names == "run" else export(run, tmp_path / "weights.npz", "--names", names)
    capsys.readouterr()
    state = start(config_from(path))
    expected = jax.tree.map(lambda a: np.asarray(a, np.float32), random_params(CONFIG.model))
    for tree in (state.params, state.average):
        jax.tree.map(np.testing.assert_array_equal, tree, expected)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("start   ")
    assert lines[1:] == [f"        taken     {len(jax.tree.leaves(expected))} arrays"]


@pytest.mark.parametrize("naming", NAMINGS.values(), ids=lambda naming: naming.name)
def test_a_training_starts_from_a_file_without_a_head(
    naming: Naming, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it say how many heads its attention has, but for Flax."""
    model = replace(CONFIG.model, patch_size=8, image_size=16)  # of 3 channels, as a square patch is taken for
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), random_params(model))
    arrays = {n: a for n, a in to_names(naming, model, params).items() if not re.search(r"head/|head\.|classifier", n)}
    assert len(arrays) == len(to_names(naming, model, params)) - 2
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **arrays)  # type: ignore[arg-type]
    state = start(config_from(tmp_path / "weights.npz", "model.image_size=16", "model.patch_size=8"))
    np.testing.assert_array_equal(state.params["head"]["W"], np.zeros((8, 3)))
    for path, array in flatten(state.params).items():
        if not path.startswith("head/") and not ("big_vision" in naming.name and path.startswith("position_embedding")):
            np.testing.assert_array_equal(array, flatten(params)[path], err_msg=path)
    assert "        drawn     head/W, head/b" in capsys.readouterr().out.splitlines()
    with pytest.raises(UserError, match=r"weights\.npz: there is no head in it.* train\.start_from=.*weights\.npz$"):
        read_weights(tmp_path / "weights.npz")


def test_the_heads_of_a_published_width_are_not_taken_on_trust(tmp_path: Path) -> None:
    model = replace(CONFIG.model, d_model=192, heads=3, layers=1)
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **to_names(NAMINGS["timm"], model, random_params(model)))
    config = config_from(tmp_path / "weights.npz", "model.d_model=192", "model.heads=6", "model.layers=1")
    told = r"its attention has 3 heads, not 6: set model\.heads=3 \(usual for its width; if it has others, import it"
    with pytest.raises(UserError, match=told):
        start(config)


def test_what_a_training_starts_from_is_told_in_lines_of_80_columns() -> None:
    model = replace(SMALL, layers=3, gelu="erf", eps=1e-5, pooling="mean")
    begun = Start("runs/a/best.npz", SMALL, SMALL.init(jax.random.key(0)), ("a", "b", "c"))
    lines = describe(begun, model, find_sources(model, SMALL, begun.params))
    assert all(len(line) <= 80 for line in lines)
    told = " ".join(line.strip() for line in lines)
    block = "encoder/block_2/attention"
    assert f"drawn     {block}/attention/out/W, {block}/attention/out/b, {block}/attention/qkv/W, and 9 more" in told
    assert told.endswith("note: it was trained with model.gelu=tanh model.eps=1e-06 model.pooling=class_token")


def test_classes_of_other_ids_get_a_new_head_though_their_number_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    state = start(config_from(run.path, "model.gelu=erf"), ("n7", "n8", "n9"))
    np.testing.assert_array_equal(state.params["head"]["W"], np.zeros((8, 3)))
    lines = capsys.readouterr().out.splitlines()
    assert "        drawn     head/W, head/b" in lines
    assert "        note: it was trained with model.gelu=tanh" in lines


def test_a_start_that_does_not_fit_or_is_not_there_gets_one_message(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"train\.start_from=.*: nothing of its encoder fits this model"):
        start(config_from(run.path, "model.d_model=16", "model.heads=2"))
    with pytest.raises(UserError, match="nowhere: there is no such file"):
        configured_start(config_from(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"leaves no weight matrix for optim\.name=muon"):
        load_config("baseline", ["optim.name=muon", "train.freeze=backbone"])
    with pytest.raises(ConfigError, match=r"without train\.start_from they are drawn at random"):
        load_config("baseline", ["train.freeze=backbone"])


@pytest.mark.parametrize(("change", "refused"), [
    ("model.image_size=12", None),
    ("model.num_classes=5", None),
    ("model.image_size=16 model.patch_size=8", r"patch_embedding/project/W would be drawn at random, as .*best\.npz"),
    ("model.layers=3", r"encoder/block_2/attention/attention/out/W, .*, and 9 more would be drawn"),
])  # fmt: skip
def test_no_parameters_that_are_drawn_are_frozen(change: str, refused: str | None, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    config = config_from(run.path, *change.split(), "train.freeze=backbone")
    began = configured_start(config)
    if refused is None:
        require_fit(began, config, CLASSES.class_ids)
        return
    with pytest.raises(UserError, match=refused):
        require_fit(began, config, CLASSES.class_ids)


def test_a_training_that_cannot_start_leaves_no_folder(
    call: Callable[..., Ended], tiny: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    """So that a corrected command may name the same folder."""
    damaged = tmp_path / "weights.npz"
    damaged.write_bytes(b"PK\x03\x04")
    for options, message in (
        ([f"train.start_from={damaged}"], "weights.npz: damaged or cut short"),
        ([f"train.start_from={finished}", "model.d_model=16"], "nothing of its encoder fits this model"),
        ([f"train.start_from={finished}", "model.patch_size=16", "train.freeze=backbone"], "would be drawn at random"),
    ):
        ended = call(train.main, *tiny, *options, "--run", tmp_path / "new", "--device", "cpu")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert message in ended.err
        assert list(tmp_path.iterdir()) == [damaged]


def test_the_head_alone_is_trained() -> None:
    step = training_step(SMALL, freeze="backbone", max_grad_norm=1.0)
    state = step.init()
    assert jax.tree.structure(state.optimizer.m) == jax.tree.structure({"head": state.params["head"]})
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    new, metrics = jax.jit(step)(state, jnp.asarray(images), jnp.asarray([0, 1, 2, 0]))
    for path, array in flatten(new.params).items():
        changed = not np.array_equal(array, flatten(state.params)[path])
        assert changed == path.startswith("head/"), path
    pixels, labels = jax.jit(step.augment)(jax.random.key(0), jnp.asarray(images), jnp.asarray([0, 1, 2, 0]))
    _, whole = jax.jit(step.loss_and_grads)(state.params, pixels, labels, jax.random.key(0))
    expected = np.sqrt(sum(float((a**2).sum()) for a in jax.tree.leaves(whole["head"])))
    assert float(metrics.grad_norm) == pytest.approx(expected, rel=1e-5)
