"""Muon: which parameters are its own, what Newton-Schulz does to singular values, and runs from a configuration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax.contrib import scale_by_muon

from model.vit import ViT
from optim.adamw import AdamW
from optim.muon import Muon, merge, newton_schulz, split
from optim.schedule import WarmupCosine
from tests.oracle import assert_close, like, normal, random_params
from tests.tiny_runs import random_dataset
from training.config import load_config
from training.setup import build_step
from training.step import TrainingStep

VIT = ViT(image_size=4, patch_size=2, d_model=8, heads=2, layers=1, mlp_dim=6, num_classes=3)
BLOCK = "encoder/block_0"
HIDDEN = [
    f"{BLOCK}/attention/attention/out/W", f"{BLOCK}/attention/attention/qkv/W",
    f"{BLOCK}/feed_forward/feed_forward/expand/W", f"{BLOCK}/feed_forward/feed_forward/project/W",
]  # fmt: skip


def leaves(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def one_step(optimizer, params, grads):
    new, _ = jax.jit(optimizer.update)(params, grads, optimizer.init(params))
    return leaves(jax.tree.map(jnp.subtract, params, new))


def test_the_weight_matrices_of_the_encoder_are_muons_and_nothing_else():
    params = random_params(ViT(layers=1, layer_scale=0.1, learned_temperature=True, patch_norm_after=True))
    hidden, others = split(params)
    assert sorted(leaves(hidden)) == HIDDEN
    expected = {"head/W", "patch_embedding/project/W", "position_embedding/positions", "position_embedding/class_token",
                f"{BLOCK}/attention/attention/scale", f"{BLOCK}/attention/attention/qkv/b"}  # fmt: skip
    assert expected < set(leaves(others))
    assert set(leaves(hidden)) | set(leaves(others)) == set(leaves(params))
    assert len(leaves(others)) == len(leaves(params)) - 4
    assert_close(merge(hidden, others), params, 0)
    behind = split(random_params(ViT(layers=2, norm="post", final_norm=False)))[0]
    assert len(leaves(behind)) == 8


@pytest.mark.usefixtures("float64")
def test_all_else_is_updated_as_by_adamw_alone():
    adamw = AdamW(WarmupCosine(3e-3, 2, 10), beta1=0.8, weight_decay=0.1)
    muon, params = Muon(adamw), random_params(VIT)
    state, expected, expected_state = muon.init(params), params, adamw.init(params)
    for step in range(5):
        grads = like(params, seed=step)
        params, state = jax.jit(muon.update)(params, grads, state)
        expected, expected_state = jax.jit(adamw.update)(expected, grads, expected_state)
    assert int(state.step) == 5
    assert float(muon.rate(3)) == float(adamw.rate(3))
    assert_close(split(params)[1], split(expected)[1])
    for name, leaf in leaves(split(params)[0]).items():
        assert np.abs(leaf - leaves(expected)[name]).max() > 1e-4, name


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 5, 5), (1, 7)], ids=str)
def test_newton_schulz_is_its_polynomial_on_the_singular_values(shape):
    U = normal(1, *shape)
    P, s, QT = np.linalg.svd(U, full_matrices=False)
    s = s / np.sqrt((s * s).sum(axis=-1, keepdims=True))
    for steps in range(1, 11):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        assert_close(newton_schulz(U, steps), (P * s[..., None, :]) @ QT)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (128, 32), (3, 48, 48)], ids=str)
def test_five_steps_make_a_matrix_nearly_orthogonal(shape):
    """In float32, with singular values over three orders of magnitude, of which the smallest begins above 0.0015."""
    P, s, QT = np.linalg.svd(normal(2, *shape), full_matrices=False)
    s = np.geomspace(1, 5e-3, s.shape[-1])
    U = ((P * s) @ QT).astype(np.float32)
    assert s[-1] / np.linalg.norm(s) > 0.0015
    values = np.linalg.svd(np.asarray(newton_schulz(U, 5)), compute_uv=False)
    assert 0.68 <= values.min() < values.max() <= 1.21
    assert np.linalg.svd(U, compute_uv=False).min() < 0.006  # it was far from orthogonal


@pytest.mark.usefixtures("float64")
def test_newton_schulz_is_that_of_optax():
    """Its bias correction only scales the momentum, which MUON.3 undoes; its look-ahead is another, and left out."""
    U = normal(3, 5, 8)
    oracle = scale_by_muon(beta=0.9, nesterov=False, eps=0.0)
    expected, _ = oracle.update(U, oracle.init(U))
    assert_close(newton_schulz(U, 5), expected)


@pytest.mark.usefixtures("float64")
def test_the_step_is_as_long_as_one_of_adamw_whatever_the_shape():
    params = random_params(ViT(image_size=4, patch_size=2, d_model=32, heads=2, layers=1, mlp_dim=96, num_classes=3))
    steps = one_step(Muon(AdamW(0.01)), params, like(params, seed=5))
    for name in HIDDEN:
        assert float(np.sqrt((steps[name] ** 2).mean())) == pytest.approx(0.01 * 0.2, rel=0.3), name


@pytest.mark.usefixtures("float64")
def test_queries_keys_and_values_are_three_matrices():
    params, grads = random_params(VIT), like(random_params(VIT), seed=4)
    D, name = VIT.d_model, f"{BLOCK}/attention/attention/qkv/W"
    whole = one_step(Muon(AdamW(0.1)), params, grads)[name]
    for i in range(3):
        U = leaves(grads)[name][:, i * D : (i + 1) * D]
        expected = 0.1 * 0.2 * np.sqrt(D) * newton_schulz(U, 5)
        np.testing.assert_allclose(whole[:, i * D : (i + 1) * D], expected, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("float64")
def test_a_step_does_not_depend_on_the_size_of_the_gradient_and_turns_with_it():
    params, grads = random_params(VIT), like(random_params(VIT), seed=6)
    muon, name = Muon(AdamW(0.1)), f"{BLOCK}/feed_forward/feed_forward/expand/W"
    step = one_step(muon, params, grads)
    scaled = one_step(muon, params, jax.tree.map(lambda g: 1e-4 * g, grads))
    for hidden in HIDDEN:
        np.testing.assert_allclose(scaled[hidden], step[hidden], rtol=0, atol=1e-14)
    rotation, _ = np.linalg.qr(normal(7, VIT.d_model, VIT.d_model))
    layer = grads["encoder"]["block_0"]["feed_forward"]["feed_forward"]["expand"]
    layer["W"] = rotation @ layer["W"]
    np.testing.assert_allclose(one_step(muon, params, grads)[name], rotation @ step[name], rtol=0, atol=1e-13)


@pytest.mark.usefixtures("float64")
def test_a_gradient_of_zero_leaves_the_decay_alone():
    """So it is at the first step below a head that begins at zero."""
    params = random_params(VIT)
    steps = one_step(Muon(AdamW(0.1, weight_decay=0.5)), params, jax.tree.map(jnp.zeros_like, params))
    for name, leaf in leaves(params).items():
        decayed = name in HIDDEN or name in ("head/W", "patch_embedding/project/W")
        np.testing.assert_allclose(steps[name], 0.05 * leaf if decayed else 0 * leaf, rtol=0, atol=1e-15)


def test_a_gradient_that_is_not_finite_is_not_hidden():
    assert not jnp.isfinite(newton_schulz(jnp.array([[1.0, jnp.nan], [0.0, 1.0]]), 5)).any()


def test_the_training_step_learns_with_it_from_a_configuration():
    dataset = random_dataset()
    options = [
        "optim.name=muon", "optim.momentum=0.8", "optim.newton_schulz_steps=3", "optim.learning_rate=1e-2",
        "optim.beta1=0.7", "optim.weight_decay=0.2", "optim.ema=0.9", "model.image_size=8", "model.d_model=8",
        "model.patch_size=4", "model.heads=2", "model.layers=1", "model.mlp_dim=8", "model.num_classes=5",
    ]  # fmt: skip
    step = build_step(load_config("baseline", options), dataset, total_steps=30, platform="cpu")
    muon = step.optimizer
    assert isinstance(muon, Muon)
    assert (muon.momentum, muon.newton_schulz_steps) == (0.8, 3)
    assert (muon.adamw.beta1, muon.adamw.weight_decay, float(muon.rate(0))) == (0.7, 0.2, pytest.approx(1e-2))
    assert isinstance(build_step(load_config("baseline"), dataset, 30, "cpu").optimizer, AdamW)

    update, images, labels = jax.jit(step), dataset.train.images[:8], dataset.train.labels[:8]
    state, losses = jax.jit(TrainingStep.init, static_argnums=0)(step), []
    for _ in range(30):
        state, metrics = update(state, images, labels)
        losses.append(float(metrics.loss))
    assert losses[0] == pytest.approx(np.log(5), rel=1e-5)
    assert losses[-1] < 0.7 * losses[0]
    assert update._cache_size() == 1  # nothing in the state changes its type or shape on the way
    assert int(state.optimizer.step) == 30


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Muon(AdamW(), momentum=1.0), "momentum must be at least 0 and below 1, got 1.0"),
        (lambda: Muon(AdamW(), momentum=-0.1), "momentum"),
        (lambda: Muon(AdamW(), newton_schulz_steps=0), "newton_schulz_steps must be at least 1, got 0"),
        (lambda: Muon(AdamW()).init({"dense": {"W": jnp.ones((2, 3))}}), "no weight matrix in a branch 'encoder'"),
        (lambda: Muon(AdamW()).init({"encoder": {"gamma": jnp.ones(3)}}), "use AdamW"),
    ],
)
def test_what_cannot_be_used_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
