"""The masked autoencoder: its parts against definitions and automatic differentiation, and training without labels."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import evaluate
import gradcheck
import predict
import train
from checks.mutants import load_mutants
from common.errors import ConfigError
from model.layers.keep_tokens import KeepTokens
from model.layers.patch_embedding import PatchifyCache
from model.layers.restore_tokens import RestoreTokens
from model.mae import MAE
from model.masked_squared_error import MaskedSquaredError
from model.vit import ViT
from tests.oracle import assert_close, normal, random_params
from tests.tiny_runs import random_dataset
from training import preview
from training.config import from_yaml, load_config
from training.evaluation import Evaluation
from training.metrics import read_rows
from training.objective import MaskedReconstruction
from training.reconstruction import RIDGE, ReconstructionEvaluator, ReconstructionStep, linear_probe
from training.run_folder import RunFolder
from training.setup import build_step, load_dataset
from training.trained import load_trained

VIT = ViT((8, 12), (4, 2), 3, d_model=8, heads=2, layers=2, mlp_dim=12, num_classes=5)
SMALL = MAE(VIT, 0.6, decoder_dim=12, decoder_heads=3, decoder_layers=1, decoder_mlp_dim=10)
HIDING = ("mae.mask=0.6", "mae.decoder_dim=8", "mae.decoder_heads=2", "mae.decoder_layers=1", "mae.decoder_mlp_dim=16")
B = 3


# The layers.


def test_tokens_are_back_in_their_places_and_the_mask_token_is_everywhere_else() -> None:
    kept = jnp.array([[0, 2, 3], [4, 1, 0]])
    x, token = jnp.arange(12.0).reshape(2, 3, 2), jnp.array([-1.0, -2.0])
    y, _ = RestoreTokens(5, 2).forward({"mask_token": token}, x, kept)
    m = [-1, -2]
    expected = [[[0, 1], m, [2, 3], [4, 5], m], [[10, 11], [8, 9], m, m, [6, 7]]]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.usefixtures("float64")
def test_restoring_undoes_keeping() -> None:
    """What was kept comes back, and with a mask token of zeros the one is the transpose of the other."""
    keep, x = KeepTokens(0.5, first=1), normal(0, B, 9, 4)
    kept = keep.draw(jax.random.key(1), B, 9)
    y, cache = keep.gather(x, kept)
    back, restored = RestoreTokens(9, 4).forward({"mask_token": jnp.zeros(4)}, y, kept)
    again, _ = keep.gather(back, kept)
    np.testing.assert_array_equal(again, y)
    dx, _ = keep.backward({}, cache, y)
    np.testing.assert_array_equal(dx, back)
    dy = normal(1, B, 9, 4)
    found, grads = RestoreTokens(9, 4).backward({}, restored, dy)
    np.testing.assert_array_equal(found, keep.gather(dy, kept)[0])
    # Every position is either kept or missing, so the two gradients add up to everything that came in.
    np.testing.assert_allclose(found.sum(axis=(0, 1)) + grads["mask_token"], dy.sum(axis=(0, 1)), rtol=1e-12)


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_sizes_that_cannot_be(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        RestoreTokens(*size)


# The loss.


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("normalize_patches", [True, False])
def test_the_error_of_hidden_patches_by_definition(normalize_patches: bool) -> None:
    predicted, patches = normal(0, B, 6, 5), 3 * normal(1, B, 6, 5) + 2
    hidden = np.random.default_rng(2).random((B, 6)).argsort(axis=1) < 4
    terms = []
    for image, shown, gone in zip(predicted, patches, hidden, strict=True):
        for y, p in zip(image[gone], shown[gone], strict=True):
            t = (p - p.mean()) / np.sqrt(p.var(ddof=1) + 1e-6) if normalize_patches else p
            terms.append(((y - t) ** 2).mean())
    loss = MaskedSquaredError(normalize_patches)
    value, _ = loss.forward(predicted, patches, hidden)
    assert float(value) == pytest.approx(np.mean(terms), rel=1e-13)
    assert float(loss.each(predicted, patches, hidden).mean()) == pytest.approx(np.mean(terms), rel=1e-13)


def test_a_patch_of_one_colour_has_targets_of_zero_and_one_of_a_single_value_is_refused() -> None:
    loss = MaskedSquaredError()
    np.testing.assert_array_equal(loss.targets(jnp.full((1, 2, 4), 0.7)), np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="a patch of one value has no variance"):
        loss.targets(jnp.ones((1, 2, 1)))
    config = ["model.patch_size=1", "model.channels=1", "model.image_size=4", *HIDING]
    with pytest.raises(
        ConfigError, match=r"mae: a patch of one value has no variance: set mae.normalize_patches=false"
    ):
        load_config("baseline", config)
    assert load_config("baseline", [*config, "mae.normalize_patches=false"]).autoencoder is not None


# The autoencoder.


VARIANTS: list[dict[str, Any]] = [
    {},
    {"pooling": "mean", "class_token": False, "positions": "sinusoidal_2d"},
    {"patch_norm_before": True, "final_norm": False, "norm": "post"},
    {"dropout": 0.1, "embedding_dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.3},
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_loss_and_gradients_against_automatic_differentiation(options: dict[str, Any]) -> None:
    model, loss = replace(SMALL, vit=replace(VIT, **options)), MaskedSquaredError()
    params, images, kept = random_params(model), normal(3, B, 8, 12, 3), model.draw(jax.random.key(2), B)
    key = jax.random.key(5) if options.get("dropout") else None
    patches, hidden = model.patches(images), model.hidden(kept)

    @jax.jit
    def both(params: Any, images: Any) -> Any:
        def value(params: Any, images: Any) -> jax.Array:
            return loss.forward(model.forward(params, images, kept, key)[0], patches, hidden)[0]

        pixels, cache = model.forward(params, images, kept, key)
        _, loss_cache = loss.forward(pixels, patches, hidden)
        dimages, grads = model.backward(params, cache, loss.backward(loss_cache))
        return (grads, dimages), jax.grad(value, (0, 1))(params, images)

    assert_close(*both(params, images))


def test_the_encoder_sees_nothing_of_a_hidden_patch() -> None:
    images, kept = normal(0, B, 8, 12, 3), SMALL.draw(jax.random.key(0), B)
    params = random_params(SMALL)
    patches = jnp.where(SMALL.hidden(kept)[:, :, None], 100.0, SMALL.patches(images))
    others, _ = SMALL.patchify.backward({}, PatchifyCache(), patches)
    forward = jax.jit(SMALL.forward)
    np.testing.assert_array_equal(forward(params, images, kept)[0], forward(params, others, kept)[0])
    assert int(SMALL.hidden(kept).sum()) == B * 7  # of 12 patches, 5 are kept
    np.testing.assert_array_equal(kept[:, 0], [0, 0, 0])  # the class token
    assert len({tuple(row) for row in np.asarray(kept).tolist()}) == B


def test_features_are_those_of_the_classifier_with_the_same_parameters() -> None:
    """By name: all parameters of the ViT but its head are where the autoencoder has them."""
    for vit in (VIT, replace(VIT, pooling="mean", class_token=False)):
        model = replace(SMALL, vit=vit)
        params, images = random_params(model), normal(0, B, 8, 12, 3)
        own = vit.init(jax.random.key(0))
        shared = {name: params.get(name, branch) for name, branch in own.items()}
        assert jax.tree.map(jnp.shape, shared) == jax.tree.map(jnp.shape, own)
        features, _ = jax.jit(vit.features)(shared, images)
        np.testing.assert_allclose(jax.jit(model.features)(params, images), features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("vit", "options", "message"), [
    ({"patch_dropout": 0.5}, {}, "hides patches already: leave out patch_dropout=0.5"),
    ({"layers": 0, "pooling": "mean", "class_token": False}, {}, "layers=0 leaves no encoder"),
    ({}, {"mask": 1.0}, "mask must be above 0 and below 1"),
    ({}, {"mask": 0.01}, "hides none of 12 patches"),
    ({"shifted_patches": True}, {}, "shows each patch a part of its neighbours, hidden ones too"),
    ({"masked_diagonal": True, "pooling": "mean", "class_token": False}, {"mask": 0.95}, "leaves 1: hide fewer"),
    ({}, {"decoder_heads": 5}, "5 heads do not divide d_model 12"),
    ({}, {"decoder_dim": 6, "decoder_heads": 2}, "need a d_model divisible by 4"),
    ({}, {"decoder_layers": 0}, "decoder_layers must be at least 1"),
])  # fmt: skip
def test_autoencoders_that_cannot_be(vit: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MAE(replace(VIT, **vit), **{"mask": 0.6, "decoder_dim": 12, "decoder_heads": 3} | options)


def test_in_half_precision_gradients_are_near_those_of_float32() -> None:
    half = replace(SMALL, vit=replace(VIT, dtype="bfloat16"))
    params, images = random_params(SMALL), jnp.asarray(normal(0, 8, 8, 12, 3))
    keys, labels = jax.random.split(jax.random.key(0), 8), jnp.zeros(8, int)

    @partial(jax.jit, static_argnums=0)
    def gradient(model: MAE) -> tuple[Any, Any]:
        return MaskedReconstruction(model, MaskedSquaredError()).loss_and_grads(params, images, labels, keys)

    (loss, grads), (other, others) = gradient(SMALL), gradient(half)
    assert float(other) == pytest.approx(float(loss), rel=0.03)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(others), strict=True):
        assert b.dtype == jnp.float32
        assert float(jnp.linalg.norm(a - b)) <= 0.1 * float(jnp.linalg.norm(a)) + 1e-3
    assert "bf16" in str(jax.make_jaxpr(lambda: half.forward(params, images, half.draw(keys, 8)))())


def test_there_are_thirty_mutants() -> None:
    """That all of them are caught is seen where the other mutants are (test_gradcheck_mutants.py)."""
    files = ("model/mae.py", "model/masked_squared_error.py", "model/layers/restore_tokens.py")
    assert sum(mutant.file in files for mutant in load_mutants()) == 30


# Evaluation.


def test_the_linear_probe_is_a_ridge_regression() -> None:
    """The same by least squares of the data with the penalty as further rows. A feature that never changes does no
    harm."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 300)
    features = np.hstack([rng.normal(size=(300, 5)) + labels[:, None] * rng.normal(size=5), np.full((300, 1), 7.0)])
    known, others = features[:200], features[200:]
    scale = np.where(known.std(axis=0) > 0, known.std(axis=0), 1)
    X, Z = (np.c_[(x - known.mean(axis=0)) / scale, np.ones(len(x))] for x in (known, others))
    rows = np.vstack([X, np.sqrt(RIDGE * 200) * np.eye(7)])
    W, *_ = np.linalg.lstsq(rows, np.vstack([np.eye(7)[labels[:200]], np.zeros((7, 7))]), rcond=None)
    expected = np.argsort(-(Z @ W), axis=1)[:, :5]
    np.testing.assert_array_equal(linear_probe(known, labels[:200], others, 7), expected)
    assert 0.2 < (expected[:, 0] == labels[200:]).mean() < 1


def test_an_evaluation_hides_the_same_patches_whatever_the_batch() -> None:
    model = MAE(replace(VIT, image_size=16, patch_size=4), 0.6, decoder_dim=8, decoder_heads=2)
    dataset, params = random_dataset(classes=3, size=16), random_params(model)
    step = ReconstructionStep(model, dataset.mean, dataset.std)
    whole, parts = (ReconstructionEvaluator(step, dataset, size)(params, quiet=True) for size in (100, 5))
    assert isinstance(whole, Evaluation)
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)
    np.testing.assert_array_equal(whole.labels, dataset.val.labels)
    assert whole.top1 == parts.top1
    _, hidden = step.predict(params, jnp.zeros((10, 16, 16, 3)), jnp.arange(10))
    assert len({tuple(row) for row in np.asarray(hidden).tolist()}) > 5  # each image has its own


# Training.


@pytest.mark.parametrize(("option", "message"), [
    ("loss.label_smoothing=0.1", "there are no labels; set loss.label_smoothing=0"),
    ("augment.mixup=0.8", "there are no labels to mix; set augment.mixup=0"),
    ("train.start_from=runs/a", "begins with drawn parameters; set train.start_from=null"),
    ("model.patch_dropout=0.5", "leave out patch_dropout=0.5"),
    ("mae.mask=1", "expected a number above 0 and below 1"),
    ("mae.decoder_dim=100000000", "expected a whole number from 1 to 65,536"),
    ("mae.decoder_heads=3", "heads must divide d_model: 3 heads do not divide d_model 8"),
])  # fmt: skip
def test_options_that_would_have_no_effect_are_refused(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("baseline", [*HIDING, option])


def test_configurations_of_earlier_versions_learn_from_labels() -> None:
    config = load_config("mae_cpu", ["model.image_size=64"])
    assert from_yaml(config.to_yaml()) == config
    text = load_config("demo").to_yaml()
    start, end = text.index("mae:\n"), text.index("optim:\n")
    older = from_yaml(text[:start] + text[end:])
    assert older == load_config("demo")
    assert older.autoencoder is None
    with pytest.raises(ConfigError, match="there is no section train"):
        from_yaml(text[: text.index("train:\n")])


@pytest.mark.parametrize("preset", ["mae_cpu", "mae_tiny_imagenet"])
def test_presets_fit_the_classifier_that_continues_from_them(preset: str) -> None:
    config = load_config(preset)
    assert config.autoencoder is not None
    objective = build_step(config, random_dataset(size=64), 10, "cpu").objective
    assert objective == MaskedReconstruction(config.autoencoder, MaskedSquaredError())
    classifier = load_config({"mae_cpu": "tiny_imagenet_cpu"}.get(preset, "tiny_imagenet"))
    same = {"pooling": "class_token", "class_token": True, "drop_path": 0.0, "patch_dropout": 0.0}
    assert replace(config.model, **same) == replace(classifier.model, **same)


def test_a_run_without_labels_from_its_start_to_a_classifier(
    call: Callable[..., Any], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """Trained, resumed, evaluated, looked at, checked, and taken as the beginning of a classifier."""
    hiding = (*tiny, *HIDING, "optim.ema=0.5", "loss.label_smoothing=0")
    whole = call(train.main, *hiding, "train.epochs=2", "--run", "whole")
    assert whole.code == 0, whole.err
    assert re.search(r"probe +\d+\.\d\d%", whole.out)
    assert "and train.start_from=" in whole.out
    assert "decoder" in whole.out

    # Resumed: the same numbers.
    assert call(train.main, *hiding, "train.epochs=1", "--run", "half").code == 0
    resumed = call(train.main, "--resume", "half", "train.epochs=2")
    assert resumed.code == 0, resumed.err
    names = ("train_loss", "val_loss", "val_top1", "ema_loss", "ema_top1", "learning_rate")
    last = [read_rows(RunFolder(tmp_path / name).metrics_file)[-1]._asdict() for name in ("whole", "half")]
    assert {n: last[0][n] for n in names} == {n: last[1][n] for n in names}
    a, b = (
        load_trained(RunFolder.open(tmp_path / n), without_labels=True, checkpoint_name="last")
        for n in ("whole", "half")
    )
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)

    # Evaluated: the loss and the accuracy of the log.
    judged = call(evaluate.main, "whole", "--checkpoint", "last", "--json", "found.json")
    assert judged.code == 0, judged.err
    assert "mean squared error of the hidden patches" in judged.out
    found = json.loads(Path("found.json").read_text())
    assert found["loss"] == pytest.approx(last[0]["ema_loss"], rel=1e-4)
    assert found["top1"] == pytest.approx(last[0]["ema_top1"], rel=1e-4)
    assert max(len(line) for line in judged.out.splitlines()) <= 80

    # Looked at: the image, what is seen of it, what is predicted.
    seen = call(preview.main, "whole", "--out", "seen.png", "--rows", "1", "--columns", "2")
    assert seen.code == 0, seen.err
    assert Image.open("seen.png").size[0] == 2 * (2 * 64 + 8)

    # What needs a classifier says so.
    for refused in (call(predict.main, "seen.png", "--run", "whole"), call(gradcheck.main, "--checkpoint", "whole")):
        assert refused.code == 2
        assert "a masked autoencoder (mae.mask=0.6), and this needs a classifier" in refused.err
    page = call(evaluate.main, "whole", "--html", "page.html")
    assert page.code == 2
    assert "see what it predicts with `python -m training.preview" in page.err

    # Continued with labels: everything but the head is taken.
    begun = call(train.main, *tiny, "train.epochs=1", "train.start_from=whole", "--run", "classifier")
    assert begun.code == 0, begun.err
    assert re.search(r"drawn +head/W, head/b\n", begun.out)
    assert re.search(r"unused +decoder/embed/W", begun.out)


def test_the_picture_shows_what_is_seen_and_fills_in_the_rest(
    call: Callable[..., Any], tiny: tuple[str, ...], tmp_path: Path
) -> None:
    """Visible patches are those of the image in all three; hidden ones are grey, then predicted."""
    assert call(train.main, *tiny, *HIDING, "train.epochs=1", "--run", "one").code == 0
    trained = load_trained(RunFolder.open(tmp_path / "one"), without_labels=True)
    dataset = load_dataset(trained.config)
    for (image, _), (masked, title), (predicted, _) in preview.reconstructions(trained, dataset, 3, seed=0):
        grey = (np.abs(masked - 127.5) < 1).all(axis=-1)
        assert title == "60% hidden"
        assert 0.4 < grey.mean() < 0.8
        assert np.abs(image[~grey].astype(int) - predicted[~grey]).max() <= 1
        # A hidden patch is shown with its true mean, of which predictions of a new decoder do not stray far.
        assert abs(image[grey].mean() - predicted[grey].mean()) < 15
        assert np.abs(image[grey].astype(int) - predicted[grey]).max() > 5
