"""What the checker measures, and what it says when a measurement cannot be trusted."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verify import CheckError, Plan, PrecisionError, check
from verify.case import Case, PlainFunction, named
from verify.complex_step import complex_step
from verify.differences import central_differences, measure_noise, richardson
from verify.measure import Part, set_directions
from verify.probe import Probe
from verify.taylor import STEPS, taylor_test
from verify.verdict import judge

pytestmark = pytest.mark.usefixtures("float64")

X = np.array([0.3, -0.7, 1.1, 2.0])


def probe_of(f, x=X, w=None):
    case = Case("f", PlainFunction(f, lambda x, dy: x, jax.tree.structure(x)), named(x))
    return Probe(case, np.random.default_rng(0), w=w)


def noise_of(probe):
    set_directions(probe, [], [], np.random.default_rng(1))
    return measure_noise(probe, -1)


# Differences.


def test_richardson_removes_every_even_power() -> None:
    h = 0.5 * 2.0 ** -np.arange(6)[None]
    values, bars, _ = richardson(3 + 2 * h**2 - h**4 + 5 * h**6, h, np.array([0.0]))
    assert values == pytest.approx([3], abs=1e-14)
    assert bars[0] < 1e-13
    values, bars, _ = richardson(np.cos(h) / h, h, np.array([0.0]))  # no series in even powers: it has no limit
    assert bars[0] > 1


def test_differences_are_exact_to_twelve_digits_and_their_bars_hold() -> None:
    probe = probe_of(lambda x: jnp.sin(3 * x) * jnp.exp(x), w=np.ones(4))
    exact = np.exp(X) * (3 * np.cos(3 * X) + np.sin(3 * X))
    found = central_differences(probe, np.arange(4), probe.scale, noise_of(probe))
    errors = np.abs(found.values - exact)
    assert np.all(errors <= found.bars)
    assert errors.max() < 1e-11
    assert found.bars.max() < 1e-9


def test_the_noise_is_that_of_the_rounding() -> None:
    """A function of size 1e6 is rounded to 1e-10 or so; its smooth part must not be taken for noise."""
    probe = probe_of(lambda x: 1e6 * jnp.cos(x), w=np.ones(4))
    assert 1e-12 < noise_of(probe) < 1e-8


def test_a_sharp_place_in_a_small_tensor_is_looked_at_again() -> None:
    """What is wide is judged by the tensor's own gradient, not by a larger one beside it."""
    x = {"large": np.array([0.3, 0.4]), "sharp": np.array([1.0, 1.002])}

    def f(x):
        return 1e6 * jnp.sin(x["large"]) + jnp.tanh(200 * (x["sharp"] - 1))

    def gradient(x, dy):
        t = jnp.tanh(200 * (x["sharp"] - 1))
        return {"large": 1e6 * jnp.cos(x["large"]) * dy, "sharp": 200 * (1 - t * t) * dy}

    result = check(f, x, gradient, plan=Plan(methods=("differences",)))
    assert result.tensors[1].method("differences").worst < 1e-6, str(result)


def test_a_noisier_function_has_wider_bars() -> None:
    def rough(x):
        return jnp.sin(x) + 1e-9 * jnp.sin(1e12 * x)

    quiet, noisy = probe_of(jnp.sin), probe_of(rough)
    assert noise_of(noisy) > 1e4 * noise_of(quiet)
    found = central_differences(noisy, np.arange(4), noisy.scale, noise_of(noisy))
    assert np.all(np.abs(found.values - noisy.w * np.cos(X)) < found.bars)


# The complex step.


def test_the_complex_step_is_exact_to_the_last_digit() -> None:
    probe = probe_of(lambda x: jnp.exp(x) / jnp.sqrt(x * x + 1), w=np.ones(4))
    exact = np.exp(X) * (X**2 - X + 1) / (X**2 + 1) ** 1.5
    np.testing.assert_allclose(complex_step(probe, np.arange(4), probe.scale).values, exact, rtol=1e-15)


@pytest.mark.parametrize(
    ("f", "gradient", "reason"),
    [
        (lambda x: jnp.abs(x) ** 2, lambda x, dy: 2 * x * dy, "output is float64"),
        (lambda x: x + jnp.abs(x) ** 2, lambda x, dy: (1 + 2 * x) * dy, "silently drops an imaginary part"),
        (lambda x: x * x.real, lambda x, dy: 2 * x * dy, "silently drops an imaginary part"),
        (lambda x: x * jnp.sign(x), lambda x, dy: jnp.sign(x) * dy, "silently drops|no complex step"),
        (lambda x: x * x.astype(jnp.float64), lambda x, dy: 2 * x * dy, "silently drops an imaginary part"),
        (lambda x: jax.lax.erf(x), lambda x, dy: 2 / np.sqrt(np.pi) * jnp.exp(-x * x) * dy, "takes no complex numbers"),
    ],
    ids=["all of it", "one term", "one factor", "sign", "cast", "refused"],
)
def test_a_lost_imaginary_part_is_no_reason_to_call_a_gradient_wrong(f, gradient, reason) -> None:
    result = check(f, X, gradient)
    assert result.passed, str(result)
    assert result.tensors[0].method("complex step") is None
    assert re.search(reason, result.note), result.note
    wrong = check(f, X, lambda x, dy: 1.001 * gradient(x, dy))
    assert wrong.verdict == "wrong", "nor may it hide a wrong one"


# The Taylor test.


def test_the_remainder_falls_with_the_square_of_the_step_or_with_the_step() -> None:
    differences = np.sin(1 + STEPS) - np.sin(1)
    right = taylor_test(differences, np.cos(1), 1.0, 1e-16, 1e-15, 2e-16)
    assert right.verdict == "pass"
    assert np.all(np.abs(right.rates - 2) < 0.05)
    wrong = taylor_test(differences, 1.01 * np.cos(1), 1.0, 1e-16, 1e-15, 2e-16)
    assert wrong.verdict == "wrong"
    assert np.all(np.abs(wrong.rates - 1) < 0.05)


def test_a_linear_function_leaves_nothing_over() -> None:
    test = taylor_test(3 * STEPS, 3.0, 3.0, 1e-16, 3e-15, 2e-16)
    assert (test.verdict, test.linear, len(test.rates)) == ("pass", True, 0)


# Precision.


def test_float32_is_refused_unless_asked_for() -> None:
    x = X.astype(np.float32)
    way_out = r': use float64 \(with JAX: jax.config.update\("jax_enable_x64", True\).*, or pass plan=Plan\(any_float=T'
    with pytest.raises(PrecisionError, match=r"x is float32.*few correct digits" + way_out):
        check(jnp.sin, x, lambda x, dy: dy * jnp.cos(x))
    result = check(jnp.sin, x, lambda x, dy: dy * jnp.cos(x), plan=Plan(any_float=True))
    assert result.passed
    assert 1e-9 < result.tensors[0].method("complex step").worst < 1e-5


def test_jax_in_float32_is_refused() -> None:
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(PrecisionError, match=r"f: JAX computes in float32: use float64 \(with JAX: jax.config.up"):
        check(jnp.sin, X, lambda x, dy: dy * jnp.cos(x))


@pytest.mark.parametrize("narrow", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_function_that_computes_in_lower_precision_inside_is_refused(narrow) -> None:
    def f(x):
        return jax.jit(lambda x: jnp.sin(x.astype(narrow)).astype(jnp.float64))(x)

    with pytest.raises(
        PrecisionError, match=f"narrows float64 to {jnp.dtype(narrow).name}.*leave the conversion out, or"
    ):
        check(f, X, lambda x, dy: dy * jnp.cos(x))
    with pytest.raises(PrecisionError, match="the output is"):
        check(lambda x: jnp.sin(x).astype(narrow), X, lambda x, dy: dy * jnp.cos(x))


def test_there_must_be_something_to_differentiate() -> None:
    with pytest.raises(CheckError, match="every tensor is empty"):
        check(jnp.sin, np.empty((0, 3)), lambda x, dy: dy)
    with pytest.raises(CheckError, match="x has type int64"):
        check(jnp.sin, np.arange(3), lambda x, dy: dy)


# Verdicts.


def test_wrong_needs_both_an_error_beyond_its_bar_and_one_that_matters() -> None:
    n = np.array([1.0, 2.0])

    def verdict(error: float, bar: float) -> str:
        a = n + np.array([error, 0.0])
        return judge("differences", a, n, np.array([bar, bar]), scale=2.0, eps=2e-16).verdict

    assert verdict(1e-12, 1e-13) == "pass"
    assert verdict(1e-5, 1e-7) == "wrong"
    assert verdict(1e-5, 1e-4) == "inconclusive"
    assert verdict(1e-12, 1e-4) == "inconclusive", "agreement within a bar that wide proves nothing"


def test_one_wrong_element_is_seen_however_many_are_right() -> None:
    """The tolerance must not grow with the array, as that of jax.test_util.check_grads does."""
    x = np.random.default_rng(0).normal(size=1000)

    def gradient(x, dy):
        return (dy * jnp.cos(x)).at[612].multiply(1.001)

    result = check(jnp.sin, x, gradient)
    tensor = result.tensors[0]
    assert tensor.verdict == "wrong"
    assert tensor.method("complex step").where == (612,)
    assert "at 1 of 1000 coordinates, all in [612]" in tensor.diagnosis


def test_a_gradient_that_is_zero_by_theory_is_told_from_one_that_is_not() -> None:
    """Adding one number to all scores changes no softmax."""
    x = {"scores": X, "shift": np.array([0.4])}

    def f(x):
        e = jnp.exp(x["scores"] + x["shift"])
        return e / e.sum()

    def gradient(x, dy):
        p = f(x)
        ds = p * (dy - (dy * p).sum())
        return {"scores": ds, "shift": ds.sum()[None]}  # a few roundings from zero

    result = check(f, x, gradient)
    scores, shift = result.tensors
    assert result.passed
    assert (scores.zero, shift.zero) == (False, True)
    assert 0 < shift.floor < 1e-12
    wrong = check(f, x, lambda x, dy: {**gradient(x, dy), "shift": 1e-6 * dy[:1]})
    assert [tensor.name for tensor in wrong.wrong] == ["shift"]
    assert wrong.wrong[0].diagnosis.startswith("should be zero")


def test_corners_are_told_apart() -> None:
    """At a corner any slope between the one-sided ones is fair; elsewhere, however near, there is one right slope."""
    x = np.array([-1.0, 0.0, 1e-5, 2.0])

    def relu(x):
        return jnp.where(x > 0, x, 0.0)

    for at_zero in (0.0, 0.5, 1.0):
        result = check(relu, x, lambda x, dy, s=at_zero: dy * jnp.where(x == 0, s, x > 0))
        assert result.passed, str(result)
        assert result.tensors[0].kinks == 1
    assert check(relu, x, lambda x, dy: dy * jnp.where(x == 0, 1.5, x > 0)).verdict == "wrong"
    assert check(relu, x, lambda x, dy: dy * (x > 1e-3)).verdict == "wrong"


def test_a_rough_function_is_inconclusive_rather_than_wrong() -> None:
    """Without a complex step, noise of 1e-3 leaves differences with error bars that nothing can be concluded from."""

    def f(x):
        return jax.lax.erf(x) + 1e-3 * jax.lax.erf(jnp.sin(1e13 * x))

    result = check(f, X, lambda x, dy: dy * 2 / np.sqrt(np.pi) * jnp.exp(-x * x), plan=Plan(methods=("differences",)))
    assert result.verdict == "inconclusive"


def test_a_gradient_that_is_not_finite_is_wrong() -> None:
    result = check(jnp.sin, X, lambda x, dy: (dy * jnp.cos(x)).at[2].set(jnp.nan))
    assert result.verdict == "wrong"
    assert result.tensors[0].diagnosis.startswith("not finite")


def test_sampled_coordinates_include_the_largest_gradient_and_directions_see_the_rest() -> None:
    x = np.random.default_rng(0).normal(size=5000)
    plan = Plan(coordinates=3)
    right = check(lambda x: jnp.sum(jnp.sin(x)), x, lambda x, dy: dy * jnp.cos(x), plan=plan)
    assert right.passed
    assert right.tensors[0].checked == 3
    assert np.abs(np.cos(x[right.tensors[0].method("complex step").where])) <= 1

    def gradient(x, dy):  # wrong in an element that is not sampled
        return (dy * jnp.cos(x)).at[4321].add(1e-3 * dy)

    tensor = check(lambda x: jnp.sum(jnp.sin(x)), x, gradient, plan=plan).tensors[0]
    assert (tensor.method("complex step").verdict, tensor.method("directions").verdict) == ("pass", "wrong")
    assert tensor.verdict == "wrong"


def test_parts_name_the_coordinates_of_their_tensor() -> None:
    probe = probe_of(lambda x: x["a"].sum() + x["b"].sum(), {"a": np.zeros((2, 2)), "b": np.zeros((3, 4))})
    part = Part("b", "b", (), (3, 4), np.arange(4, 16))
    assert part.where(4 + 4 + 2, probe) == (1, 2)


@pytest.mark.parametrize("error", [TypeError, ValueError, NotImplementedError, RuntimeError])
def test_what_the_function_itself_raises_is_not_taken_for_a_refusal_of_complex_numbers(error) -> None:
    def broken(x):
        raise error("the function is broken")

    with pytest.raises(error, match="the function is broken"):
        check(broken, X, lambda x, dy: dy)


def test_only_a_refusal_of_complex_numbers_is_forgiven() -> None:
    def broken_there(x):
        if jnp.iscomplexobj(x):
            raise RuntimeError("out of memory")
        return jnp.sin(x)

    with pytest.raises(RuntimeError, match="out of memory"):
        check(broken_there, X, lambda x, dy: jnp.cos(x) * dy)


# Functions that deceive.


def by_vjp(f):
    """The right gradient, by an oracle."""
    return lambda x, dy: jax.vjp(f, x)[1](dy)[0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: 1 / x, [1e-5, 1.0, 2.0]),
        (jnp.tan, [1.5707, 1.0, 0.3]),
        (lambda x: jnp.sin(1e6 * x), [0.3, -0.7, 1.1, 2.0]),
        (lambda x: jax.nn.sigmoid(1e6 * x), [1e-7, 1e-6, 1.0]),
        (lambda x: jnp.exp(-1e8 * (x - 1) ** 2), [1.00005, 0.9999, 0.3]),
        (lambda x: jnp.maximum(x, 0), np.random.default_rng(1).normal(size=300) ** 5),
        (lambda x: jnp.clip(x, -1, 1) * x, X),  # raises ValueError at complex numbers
        (lambda x: 2 * x, [1e200, -2e200]),
    ],
    ids=["pole", "tan", "fast sine", "steep", "narrow", "many corners", "clip", "huge"],
)
def test_the_right_gradient_of_an_awkward_function_passes(f, x) -> None:
    result = check(f, np.array(x), by_vjp(f))
    assert result.passed, str(result)


@pytest.mark.parametrize("f", [jnp.cbrt, lambda x: jnp.log(jnp.abs(x)), lambda x: jax.lax.erf(1e5 * x)])
def test_without_a_complex_step_a_deceived_sweep_is_no_reason_to_call_a_gradient_wrong(f) -> None:
    assert check(f, np.array([1e-6, -1.0, 2.0]), by_vjp(f)).verdict != "wrong"


def test_a_wrong_gradient_of_a_fast_sine_is_wrong() -> None:
    result = check(lambda x: jnp.sin(1e6 * x), X, lambda x, dy: 1.001e6 * jnp.cos(1e6 * x) * dy)
    assert result.verdict == "wrong"


@pytest.mark.parametrize("f", [jnp.log, jnp.sqrt, lambda x: x / jnp.zeros(3)])
def test_where_the_function_has_no_value_nothing_passes(f) -> None:
    result = check(f, np.array([-1.0, 1.0, 4.0]), lambda x, dy: 77 * dy)
    assert result.verdict == "inconclusive"
    assert "NaN or infinity" in result.tensors[0].diagnosis


@pytest.mark.parametrize(
    ("f", "x", "cotangent", "message"),
    [
        (jnp.sin, [np.inf, 1.0], None, "x holds NaN or infinity"),
        (lambda x: x[:0], [1.0, 2.0], None, "the output is empty"),
        (jnp.sin, [1.0, 2.0], np.zeros(2), "not all zeros"),
        (jnp.sin, [1.0, 2.0], np.array([1.0, np.nan]), "must be finite"),
    ],
)
def test_a_check_that_could_not_fail_is_refused(f, x, cotangent, message) -> None:
    with pytest.raises(CheckError, match=message):
        check(f, np.array(x), lambda x, dy: 77 * x, cotangent=cotangent)


@pytest.mark.parametrize("use", [lambda dy: jnp.clip(dy, -10, 10), jnp.abs, lambda dy: dy + 0.01])
def test_a_backward_that_is_not_linear_in_the_cotangent_is_wrong(use) -> None:
    result = check(jnp.sin, X, lambda x, dy: jnp.cos(x) * use(dy), cotangent=np.array([1.0, 2.0, 0.5, 0.7]))
    assert "linear in the cotangent" in result.wrong[0].diagnosis
