"""Functions and points that outside testers found: right gradients that were called wrong, wrong ones that passed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, Plan, check
from verify.differences import Estimates
from verify.measure import _widen
from verify.random_rounding import randomly_rounded, seeds

pytestmark = pytest.mark.usefixtures("float64")

X = np.array([0.3, -0.7, 1.1, 2.0])
ANY = Plan(any_float=True)


def by_vjp(f):
    """The right gradient, by an oracle."""
    return lambda x, dy: jax.vjp(f, x)[1](dy)[0]


def guarded_sqrt(x):
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


# Right gradients.


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (jnp.log, [1.0, 1e25]),
        (jnp.log1p, [1e-18, 1e300]),
        (lambda x: x * jnp.log(x), [1e-200, 1.0]),
        (guarded_sqrt, [1e-12, 4.0]),
        (lambda a: jnp.linalg.cholesky((a + a.T) / 2), [[1.0, 0.999], [0.999, 1.0]]),
    ],
    ids=["log", "log1p", "x log x", "guarded sqrt", "cholesky"],
)
def test_numbers_of_all_sizes_in_one_tensor_and_small_domains_pass(f, x) -> None:
    result = check(f, np.array(x), by_vjp(f))
    assert result.passed, str(result)
    wrong = check(f, np.array(x), lambda x, dy: 1.05 * by_vjp(f)(x, dy))
    assert wrong.verdict != "pass", str(wrong)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (jnp.cbrt, [1e-9, 1.0]),
        (jax.scipy.special.gammaln, [1e-8, 1.0, 1e5]),
        (lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-12), list(1e4 + 1e-6 * X)),
        (lambda a: jnp.linalg.cholesky((a + a.T) / 2), [[1.0, 0.99999], [0.99999, 1.0]]),
    ],
    ids=["cbrt", "gammaln", "nearly constant row", "cholesky, nearly singular"],
)
def test_without_a_complex_step_they_are_not_called_wrong(f, x) -> None:
    result = check(f, np.array(x), by_vjp(f))
    assert result.verdict != "wrong", str(result)


@pytest.mark.parametrize("margin", [0.0, 15.0, 37.0, 50.0, 300.0])
def test_a_numpy_softmax_that_is_sure_of_itself_is_not_called_wrong(margin) -> None:
    def softmax(x):
        e = np.exp(x - x.real.max())
        return e / e.sum()

    def gradient(x, dy):
        p = softmax(x)
        return p * (dy - (p * dy).sum())

    x = np.array([margin, 0.0, 0.1, -2.0])
    assert check(softmax, x, gradient).verdict != "wrong"
    if margin < 20:
        assert check(softmax, x, lambda x, dy: 1.05 * gradient(x, dy)).verdict == "wrong"


def test_in_float32_a_corner_is_a_corner_and_a_fast_sine_is_not_called_wrong() -> None:
    corner = np.array([0.0, 1.0], np.float32)
    assert check(jnp.abs, corner, by_vjp(jnp.abs), plan=ANY).verdict != "wrong"

    def fast(x):
        return jnp.sin(1e6 * x)

    assert check(fast, X.astype(np.float32), by_vjp(fast), plan=ANY).verdict != "wrong"


# Wrong gradients.


@pytest.mark.parametrize(
    "use",
    [
        lambda dy: jnp.clip(dy, -1000, 1000),
        lambda dy: jnp.where(jnp.abs(dy) > 1000, 0, dy),
        lambda dy: jnp.where(jnp.abs(dy) < 1e-3, 0, dy),
    ],
)
def test_a_backward_that_is_linear_only_near_the_cotangent_is_wrong(use) -> None:
    result = check(jnp.sin, X, lambda x, dy: jnp.cos(x) * use(dy))
    assert "not linear in the cotangent" in result.wrong[0].diagnosis


@pytest.mark.parametrize("factor", [1.05, -1.0])
def test_a_wrong_gradient_of_a_median_is_wrong(factor) -> None:
    """Where it lies among the sorted numbers is computed as a float, and is not rounded at random."""
    x = np.array([0.3, -0.7, 1.1, 2.0, 0.9])
    assert check(jnp.median, x, by_vjp(jnp.median)).passed
    result = check(jnp.median, x, lambda x, dy: factor * by_vjp(jnp.median)(x, dy))
    assert result.verdict == "wrong", str(result)


def test_an_operation_that_cannot_be_run_by_itself_leaves_the_verdict_as_it_was() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("i",))
    spec = jax.sharding.PartitionSpec("i")
    f = jax.shard_map(jnp.sin, mesh=mesh, in_specs=spec, out_specs=spec)
    result = check(f, X, lambda x, dy: 1.05 * jnp.cos(x) * dy)
    assert result.verdict == "wrong", str(result)


def test_the_gradient_of_a_maximum_is_not_rounded_to_another_place() -> None:
    def f(x):
        return jnp.zeros(2).at[jnp.array([0, 1, 0, 1])].max(x)

    for seed in seeds():
        found = randomly_rounded(by_vjp(f))(seed, jnp.asarray(X), jnp.ones(2))
        np.testing.assert_allclose(found, [0, 0, 1, 1], rtol=1e-14)


# What cannot be checked.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f": lambda x: jnp.exp(1j * x), "plan": ANY}, "the output is complex128: return real floating-point"),
        ({"f": lambda x: x > 0}, "the output is bool: return real floating-point"),
        ({"cotangent": X + 1j}, "the cotangent must be an array of real numbers"),
        ({"cotangent": "a"}, "the cotangent must be an array of real numbers"),
        ({"x": {"a/b": X, "a": {"b": X}}, "f": lambda x: x["a/b"]}, "two arrays have the same name"),
        ({"sizes": {"Z": 0}}, "sizes: Z is 0: give numbers other than 0"),
        ({"sizes": {"Z": "a"}}, "sizes: Z is 'a'"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_sentence(arguments, message) -> None:
    with pytest.raises(CheckError, match=message):
        check(**({"f": jnp.sin, "x": X, "analytic": lambda x, dy: jnp.cos(x) * dy} | arguments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinates": 0}, r"Plan\(coordinates=0\): give a whole number, at least 1"),
        ({"coordinates": 1.5}, r"Plan\(coordinates=1.5\): give a whole number"),
        ({"levels": 2}, r"Plan\(levels=2\): give a whole number, at least 3"),
        ({"methods": ("foo",)}, "give a tuple with any of complex step, differences, Taylor"),
        ({"methods": ()}, "give a tuple with any of"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options, message) -> None:
    with pytest.raises(CheckError, match=message):
        Plan(**options)


def test_an_empty_array_among_others_and_a_python_number_are_no_error() -> None:
    x = (X, np.zeros((0, 3)))
    assert check(lambda x: jnp.sin(x[0]), x, lambda x, dy: (jnp.cos(x[0]) * dy, jnp.zeros((0, 3)))).passed
    assert check(lambda x: 1.0, X, lambda x, dy: 0 * x).verdict == "inconclusive"


def test_float16_near_one_is_not_near_zero() -> None:
    result = check(jnp.sin, X.astype(np.float16), by_vjp(jnp.sin), plan=ANY)
    assert result.verdict != "wrong", str(result)


def test_an_error_bar_reaches_all_of_an_estimate_that_contradicts_it() -> None:
    """0 +- 1 and 10 +- 0.5: the derivative may be 10.5."""
    pairs = ((0.0, 1.0), (10.0, 0.5))
    found, other = (Estimates(*map(np.atleast_1d, (value, bar, 0.0, False, 0.0, 0.0))) for value, bar in pairs)
    assert _widen(found, other).all()
    assert found.bars == 10.5
