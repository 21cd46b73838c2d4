"""Numbers at the ends of the range: what float32, float64 and bfloat16 can represent comes out right, and is no NaN."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.layers.gelu import GELU
from model.layers.layer_norm import LayerNorm
from model.loss import CrossEntropy
from model.one_page import gelu as gelu_on_one_page
from model.one_page import layer_norm as layer_norm_on_one_page
from model.precision import Cast
from optim.clip import clip_by_global_norm, global_norm
from optim.muon import newton_schulz

pytestmark = pytest.mark.usefixtures("float64")

CUBIC = 0.044715
PRECISION = {"bfloat16": 2e-2, "float32": 3e-5, "float64": 1e-12}  # relative; far left, exp multiplies rounding errors


def exact_gelu(x: float) -> tuple[float, float]:
    """GELU.1 and GELU.2, by Python's own complementary error function."""
    Phi, phi = math.erfc(-x / math.sqrt(2)) / 2, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return x * Phi, Phi + x * phi


def tanh_gelu(x: float) -> tuple[float, float]:
    """GELU.3 and GELU.4, with 1 + tanh u and 1 - tanh u by exponentials of negative numbers alone."""
    c = math.sqrt(2 / math.pi)
    u = c * (x + CUBIC * x**3)
    e = math.exp(-2 * abs(u))
    plus, minus = (2 / (1 + e), 2 * e / (1 + e)) if u > 0 else (2 * e / (1 + e), 2 / (1 + e))
    return x * plus / 2, plus / 2 + x * plus * minus / 2 * c * (1 + 3 * CUBIC * x * x)


FORMS = {"tanh": tanh_gelu, "erf": exact_gelu}


def value_and_dx(form: str, x: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    dtype = x.dtype.name
    layer = GELU(form) if dtype != "bfloat16" else Cast(GELU(form), "float32")  # as in a model of half precision
    y, cache = layer.forward({}, x)
    dx, _ = layer.backward({}, cache, jnp.ones_like(x))
    assert (y.dtype, dx.dtype) == (x.dtype, x.dtype)
    return np.asarray(y, np.float64), np.asarray(dx, np.float64)


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("form", FORMS)
def test_gelu_keeps_its_digits_where_it_is_nearly_zero(form: str, dtype: str) -> None:
    x = jnp.asarray([*np.linspace(-9, -1, 33), -0.1, -1e-3, -1e-30, 1e-30, 1e-3, 1.0, 3.0, 9.0], dtype)
    expected = np.array([FORMS[form](float(number)) for number in x])
    for found, right in zip(value_and_dx(form, x), expected.T, strict=True):
        np.testing.assert_allclose(found, right, rtol=PRECISION[dtype])


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("form", FORMS)
def test_gelu_of_huge_numbers_is_zero_or_the_number(form: str, dtype: str) -> None:
    huge = [45.0, 1e5, 1.9e19, 1e20, 1e30, 3e38, math.inf] + ([1e160, 1e300] if dtype == "float64" else [])
    x = jnp.asarray(huge, dtype)
    for sign in (1, -1):
        y, dx = value_and_dx(form, sign * x)
        np.testing.assert_array_equal(y, np.asarray(x, np.float64) if sign > 0 else 0)
        np.testing.assert_array_equal(dx, 1 if sign > 0 else 0)
    for result in value_and_dx(form, jnp.asarray([math.nan], dtype)):
        assert np.isnan(result).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_on_one_page_is_that_of_the_layer(dtype: str) -> None:
    x = jnp.asarray([*np.linspace(-9, 9, 37), -1e30, 1e30, -math.inf, math.inf], dtype)
    y, cache = GELU().forward({}, x)
    for found, right in zip(gelu_on_one_page(x), (y, cache.slope), strict=True):
        np.testing.assert_allclose(found, right, rtol=PRECISION[dtype])


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function], ids=["compiled", "eager"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("D", [15, 28, 41, 110, 192, 768])
def test_layer_norm_of_equal_numbers_is_exactly_zero(D: int, dtype: str, jit: type[jax.jit]) -> None:
    layer = LayerNorm(D)
    params = {"gamma": jnp.full(D, 1.5, dtype), "beta": jnp.full(D, 0.25, dtype)}
    sizes = np.array([0.1, 1 / 3, 1e4, 10000.1, 123456.7, 1e10, 1e30])
    x = jnp.asarray(np.repeat(np.concatenate([sizes, -sizes])[:, None], D, axis=1), dtype)
    for function in (lambda x: layer.forward(params, x), lambda x: layer_norm_on_one_page(params, x)):
        y, (xhat, _) = jit(function)(x)
        np.testing.assert_array_equal(xhat, 0)
        np.testing.assert_array_equal(y, 0.25)


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_layer_norm_of_nearly_equal_numbers_is_right_to_six_digits(spread: float) -> None:
    """At 1e4 the mean alone is rounded by up to 5e-4: a twentieth of the smaller spread."""
    layer, rng = LayerNorm(192), np.random.default_rng(0)
    x = jnp.asarray(1e4 + spread * rng.normal(size=(20, 192)), "float32")
    params, dy = {"gamma": jnp.ones(192), "beta": jnp.zeros(192)}, rng.normal(size=(20, 192))
    results = []
    for dtype in ("float32", "float64"):
        narrow = {name: array.astype(dtype) for name, array in params.items()}
        y, cache = layer.forward(narrow, x.astype(dtype))
        dx, _ = layer.backward(narrow, cache, jnp.asarray(dy, dtype))
        results.append((y, dx * spread))
    for found, right in zip(*results, strict=True):
        np.testing.assert_allclose(found, right, atol=5e-6)


@pytest.fixture(params=["float32", "float64"])
def ruled_out(request: pytest.FixtureRequest) -> jax.Array:
    """Logits (2, 3) of two classes that are equally probable and one that is ruled out."""
    return jnp.array([[0.0, 0.0, -jnp.inf], [5.0, -jnp.inf, 5.0]], request.param)


@pytest.mark.parametrize("labels", [[0, 2], [[1.0, 0, 0], [0, 0, 1]], [[0.5, 0.5, 0], [0.3, 0, 0.7]]], ids=str)
def test_a_class_that_is_ruled_out_costs_nothing_and_gets_no_gradient(ruled_out: jax.Array, labels: list) -> None:
    loss, cache = CrossEntropy().forward(ruled_out, jnp.asarray(labels))
    each = CrossEntropy().each(ruled_out, jnp.asarray(labels))
    np.testing.assert_allclose(loss, math.log(2), rtol=1e-6)
    np.testing.assert_allclose(each, math.log(2), rtol=1e-6)
    dz = np.asarray(CrossEntropy().backward(cache))
    np.testing.assert_array_equal(dz[np.isinf(ruled_out)], 0)
    np.testing.assert_allclose(dz.sum(axis=-1), 0, atol=1e-7)
    assert np.isfinite(dz).all()


@pytest.mark.parametrize(("loss", "label"), [(CrossEntropy(), 2), (CrossEntropy(0.1), 0)], ids=["label", "smoothing"])
def test_a_label_that_is_ruled_out_costs_infinity(ruled_out: jax.Array, loss: CrossEntropy, label: int) -> None:
    value, cache = loss.forward(ruled_out[:1], jnp.array([label]))
    assert float(value) == float(loss.each(ruled_out[:1], jnp.array([label]))[0]) == math.inf
    assert np.isfinite(loss.backward(cache)).all()


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-20, 1.0, 1e19, 1e30, 1e36])
def test_the_global_norm_of_tiny_and_huge_gradients(size: float) -> None:
    """Their squares are beyond float32. (XLA takes numbers below 1e-38 for 0.)"""
    grads = {"W": jnp.asarray([[3 * size, 0.0]], "float32"), "b": jnp.asarray([-4 * size], "float32")}
    norm = global_norm(grads)
    assert float(norm) == pytest.approx(5 * size, rel=1e-6, abs=1e-37)
    clipped, reported = clip_by_global_norm(grads, 0.5)
    assert reported == norm
    share = min(1.0, 0.5 / (5 * size))
    np.testing.assert_allclose(clipped["W"], [[3 * size * share, 0]], rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(clipped["b"], [-4 * size * share], rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_not_finite_has_no_finite_norm(wrong: float) -> None:
    assert not np.isfinite(global_norm({"W": jnp.asarray([1.0, wrong], "float32")}))


def test_the_global_norm_of_ordinary_gradients_is_what_it_was_to_the_last_bit() -> None:
    leaves = [jnp.asarray(np.random.default_rng(i).normal(size=(7, 5)), "float32") for i in range(4)]
    plain = jnp.sqrt(sum((jnp.sum(leaf * leaf) for leaf in leaves), start=jnp.zeros(())))
    assert global_norm(leaves) == plain
    assert global_norm({}) == 0


@pytest.mark.parametrize("size", [1e20, 1e37])
def test_newton_schulz_of_huge_gradients(size: float) -> None:
    U = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 5)), "float32")
    np.testing.assert_allclose(newton_schulz(size * U, 5), newton_schulz(U, 5), rtol=1e-3)
