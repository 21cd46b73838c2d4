"""AdamW, schedules and clipping against Optax, which is the oracle here and nothing more."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.vit import ViT
from optim.adamw import AdamW, decays
from optim.clip import clip_by_global_norm, global_norm
from optim.ema import EMA
from optim.schedule import Constant, WarmupCosine
from tests.oracle import assert_close, like, normal, random_params

VIT = ViT(image_size=4, patch_size=2, d_model=8, heads=2, layers=1, mlp_dim=6, num_classes=3)


def decay_mask(params):
    return jax.tree_util.tree_map_with_path(decays, params)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rate", [3e-3, WarmupCosine(3e-3, 5, 20, 1e-5)], ids=["number", "schedule"])
def test_adamw_is_optax_adamw_over_twenty_steps(rate):
    ours = AdamW(rate, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)
    oracle = optax.adamw(rate, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1, mask=decay_mask)
    params = expected = random_params(VIT)
    state, oracle_state = ours.init(params), oracle.init(params)
    our_update, oracle_update = jax.jit(ours.update), jax.jit(oracle.update)
    for step in range(20):
        grads = like(params, seed=step)
        params, state = our_update(params, grads, state)
        updates, oracle_state = oracle_update(grads, oracle_state, expected)
        expected = optax.apply_updates(expected, updates)
    assert int(state.step) == 20
    assert_close(params, expected)


def test_decay_acts_on_the_matrices_alone():
    params = random_params(ViT(patch_norm_after=True, layers=1))
    decayed = [jax.tree_util.keystr(path, simple=True, separator="/") for path, yes
               in jax.tree_util.tree_leaves_with_path(decay_mask(params)) if yes]  # fmt: skip
    assert all(name.endswith("/W") for name in decayed)
    weights = [path for path, _ in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "W"]
    assert len(decayed) == len(weights) == 6


def test_gains_and_temperatures_do_not_decay():
    params = random_params(ViT(layers=1, layer_scale=0.1, learned_temperature=True))
    mask = decay_mask(params)["encoder"]["block_0"]
    assert not mask["attention"]["attention"]["scale"]
    assert not mask["attention"]["layer_scale"]["gamma"]
    assert not mask["feed_forward"]["layer_scale"]["gamma"]
    assert mask["attention"]["attention"]["qkv"]["W"]


def test_float32_stays_float32_where_double_precision_is_enabled(float64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random_params(VIT))
    optimizer = AdamW(WarmupCosine(1e-3, 2, 10), weight_decay=0.1)
    grads, _ = clip_by_global_norm(params, 1.0)
    params, state = jax.jit(optimizer.update)(params, grads, optimizer.init(params))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state.m, state.v, grads))} == {jnp.dtype("float32")}


@pytest.mark.usefixtures("float64")
def test_schedules_are_those_of_optax():
    ours = WarmupCosine(peak=2e-3, warmup_steps=7, total_steps=50, final=1e-5)
    oracle = optax.warmup_cosine_decay_schedule(0.0, 2e-3, 7, 50, end_value=1e-5)
    steps = np.arange(60)  # past its end too
    np.testing.assert_allclose([ours(s) for s in steps], [oracle(s) for s in steps], rtol=1e-12, atol=1e-18)
    constant, oracle = Constant(2e-3, 7), optax.linear_schedule(0.0, 2e-3, 7)
    np.testing.assert_allclose([constant(s) for s in steps], [oracle(s) for s in steps], rtol=1e-12)
    assert float(Constant(2e-3)(0)) == 2e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("max_norm", [0.1, 1e3])
def test_clipping_is_that_of_optax(max_norm):
    grads = random_params(VIT)
    clipped, norm = clip_by_global_norm(grads, max_norm)
    expected, _ = optax.clip_by_global_norm(max_norm).update(grads, optax.EmptyState())
    assert_close(clipped, expected)
    assert float(norm) == pytest.approx(float(optax.global_norm(grads)), rel=1e-12)
    assert float(global_norm(clipped)) <= max_norm * (1 + 1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("decay", [0.99, 0.3, 0.0])
def test_the_moving_average_is_that_of_optax_at_each_decay(decay):
    ema, params = EMA(decay), random_params(VIT)
    average, update = ema.init(params), jax.jit(ema.update)
    expected = average
    for step in range(30):
        params = like(params, seed=step)
        average = update(average, params, step)
        expected = optax.incremental_update(params, expected, 1 - min(decay, (1 + step) / (10 + step)))
    assert_close(average, expected)
    assert float(ema.rate(10**6)) == decay


def test_the_average_of_what_does_not_move_stays():
    params = random_params(VIT)
    average = EMA(0.9).init(params)
    for step in (0, 1, 1000):
        average = EMA(0.9).update(average, params, step)
    assert_close(average, params, 0)


def test_clipping_all_zeros_leaves_zeros():
    clipped, norm = clip_by_global_norm({"W": jnp.zeros((2, 3))}, 1.0)
    assert float(norm) == 0
    np.testing.assert_array_equal(clipped["W"], 0)


def test_a_gradient_that_is_not_finite_is_not_hidden():
    clipped, norm = clip_by_global_norm({"W": jnp.array([1.0, jnp.inf])}, 1.0)
    assert not jnp.isfinite(norm)
    assert not jnp.isfinite(clipped["W"]).all()


def test_one_step_by_hand():
    """After bias correction the first step is lr * sign(g), whatever the size of the gradient."""
    params, grads = {"b": jnp.array([1.0, -2.0])}, {"b": jnp.array([1e-3, -5.0])}
    optimizer = AdamW(0.1, eps=0.0)
    params, _ = optimizer.update(params, grads, optimizer.init(params))
    np.testing.assert_allclose(params["b"], [0.9, -1.9], rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AdamW(-1.0), "learning_rate"),
        (lambda: AdamW(float("nan")), "learning_rate"),
        (lambda: Constant(1.0, -3), "warmup_steps"),
        (lambda: AdamW(beta1=1.0), "beta1"),
        (lambda: AdamW(beta2=-0.1), "beta2"),
        (lambda: AdamW(weight_decay=-1.0), "weight_decay"),
        (lambda: AdamW(eps=-1.0), "eps"),
        (lambda: EMA(1.0), "decay must be at least 0 and below 1, got 1.0"),
        (lambda: EMA(-0.1), "decay"),
        (lambda: WarmupCosine(1.0, 10, 10), "shorter than the 10 steps"),
        (lambda: clip_by_global_norm({"W": normal(0, 2)}, 0.0), "max_norm"),
    ],
)
def test_values_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
