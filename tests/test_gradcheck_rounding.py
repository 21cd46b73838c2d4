"""What rounding does to a verdict: it makes no right gradient wrong, and lets no wrong one pass."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.extremes import PLAN, points, verdicts
from checks.full_size import Point, random_point, stage_cases
from checks.functions import LossFunction, ModelFunction
from model.layers.class_token_attention import ClassTokenAttention
from model.layers.gelu import GELU
from model.layers.layer_norm import LayerNorm
from model.layers.multi_head_attention import MultiHeadAttention
from model.layers.softmax import Softmax
from model.loss import CrossEntropy
from model.vit import ViT
from verify import CheckError, Plan, check, check_case
from verify.case import Case
from verify.layer import draw_params, layer_case
from verify.random_rounding import randomly_rounded, seeds

pytestmark = pytest.mark.usefixtures("float64")

X = np.array([0.3, -0.7, 1.1, 2.0])


def wrong(analytic, factor=1.05):
    """The gradient of a case, off by a factor."""
    return lambda x, dy: jax.tree.map(lambda g: factor * g, analytic(x, dy))


# Random rounding.


def test_random_rounding_sees_the_error_that_a_cancellation_leaves() -> None:
    """1 - p of a saturated softmax is off by the rounding of p, however small it is itself."""

    def f(x):
        return jax.nn.softmax(x)[0] - 1

    logits = jnp.array([20.0, 0.0, 0.1])
    changes = [float(randomly_rounded(f)(seed, logits) - f(logits)) for seed in seeds()]
    assert 1e-16 < np.abs(changes).max() < 1e-14
    assert len(set(np.sign(changes))) == 2
    tail = [float(randomly_rounded(lambda x: jax.nn.softmax(x)[1])(seed, logits)) for seed in seeds()]
    assert np.ptp(tail) < 1e-13 * tail[0], "and the small numbers are right to the last digits"


def test_random_rounding_leaves_exact_operations_alone() -> None:
    def f(x):
        return (x[::-1].reshape(2, 2).T - x.reshape(2, 2).T, jnp.max(x), jnp.where(x > 0, x, -x), x - x)

    expected = f(jnp.asarray(X))
    for seed in seeds():
        found = randomly_rounded(f)(seed, jnp.asarray(X))
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2], expected[2])
        np.testing.assert_array_equal(found[3], 0)


def test_random_rounding_goes_into_loops_branches_and_compiled_functions() -> None:
    """Each of these computes exp(x) in its own way."""

    def scanned(x):
        return jax.lax.scan(lambda carry, _: (carry * jnp.exp(x / 3), carry), jnp.ones_like(x), length=3)[0]

    def looped(x):
        start = (0, jnp.ones_like(x))
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * jnp.exp(x / 3)), start)[1]

    def branched(x):
        return jax.lax.cond(x[0] > 0, jnp.exp, jnp.zeros_like, x)

    for f in (scanned, looped, branched, jax.jit(jnp.exp), jax.checkpoint(jnp.exp)):
        found = np.array([jax.jit(randomly_rounded(f))(seed, jnp.asarray(X)) for seed in seeds()])
        np.testing.assert_allclose(found, np.tile(np.exp(X), (len(found), 1)), rtol=1e-14)
        assert np.all(np.ptp(found, axis=0) > 0), "each number is rounded in more than one way"


# Saturated, tiny and huge points: the right gradient.


def saturated_loss(margin: float, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=3)
    logits = rng.normal(size=(3, 5)) + margin * np.eye(5)[labels]
    return Case("loss", LossFunction(CrossEntropy()), {"logits": logits}, {"labels": labels})


@pytest.mark.parametrize("margin", [15, 20, 30, 36, 40, 100, 700, 800])
def test_a_saturated_loss_is_not_called_wrong(margin) -> None:
    result = check_case(saturated_loss(margin), 0)
    assert result.verdict in {"pass" if margin <= 20 else "inconclusive", "inconclusive" if margin > 15 else "pass"}
    if result.verdict == "inconclusive":
        assert "rounding errors" in result.tensors[0].diagnosis


def test_the_loss_of_the_report_is_not_called_wrong() -> None:
    case = Case("ce", LossFunction(CrossEntropy()), {"logits": np.array([[20.0, 0.0, 0.1]])}, {"labels": np.array([0])})
    assert check_case(case, 0).verdict == "inconclusive"


@pytest.mark.parametrize("margin", [15, 20, 30, 40])
def test_a_saturated_softmax_is_not_called_wrong(margin) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 5)) + margin * np.eye(5)[[0, 3, 1]]
    assert check_case(layer_case("softmax", Softmax(), {}, x, rng), 0).verdict != "wrong"


@pytest.mark.parametrize("kind", ["tanh", "erf"])
@pytest.mark.parametrize("x", [-5.0, -6.0, -7.0, -10.0, -20.0, -37.0, -100.0, 20.0, 1e-160])
def test_a_gelu_far_out_is_not_called_wrong(kind, x) -> None:
    rng = np.random.default_rng(2)
    points = x * (1 + 0.05 * rng.random((3, 4)))
    assert check_case(layer_case("gelu", GELU(kind), {}, points, rng), 0).verdict != "wrong"


@pytest.mark.parametrize("size", [1e-6, 1e-3, 30.0])
@pytest.mark.parametrize(
    "layer",
    [MultiHeadAttention(6, 2, learned_temperature=True, masked_diagonal=True), ClassTokenAttention(6, 2), LayerNorm(6)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_on_tiny_or_huge_inputs_is_not_called_wrong(layer, size) -> None:
    rng = np.random.default_rng(3)
    case = layer_case("layer", layer, draw_params(layer, rng), size * rng.normal(size=(2, 5, 6)), rng)
    assert check_case(case, 0).verdict != "wrong"


@pytest.fixture(scope="module")
def trained() -> Point:
    """A small model, trained until its loss is 1e-7."""
    model = ViT(image_size=4, patch_size=2, d_model=4, heads=2, layers=1, mlp_dim=6, num_classes=3)
    with jax.enable_x64(True):
        point = random_point(model, CrossEntropy(), seed=0, batch=3)
        function = ModelFunction(model, CrossEntropy())

        @jax.jit
        def step(params, squares):
            gradient = function.gradient({**params, "images": point.images}, point.constants, 1.0)
            squares = {name: 0.9 * s + 0.1 * gradient[name] ** 2 for name, s in squares.items()}
            moved = {n: p - 0.03 * gradient[n] / (jnp.sqrt(squares[n]) + 1e-12) for n, p in params.items()}
            return moved, squares

        params = {name: jnp.asarray(array) for name, array in point.params.items()}
        squares = {name: jnp.zeros_like(array) for name, array in params.items()}
        for _ in range(2000):
            params, squares = step(params, squares)
            found = replace(point, params={name: np.asarray(array) for name, array in params.items()})
            if found.value() < 1e-7:
                return found
    raise AssertionError(f"the loss is still {found.value()}")


def test_a_model_trained_to_a_tiny_loss_is_not_called_wrong_and_a_mistake_in_it_is(trained) -> None:
    """Errors of 1e-9 of the largest gradient are rounding there; 5% are not."""
    for case in stage_cases(trained):
        result = check_case(case, 0, Plan(coordinates=2))
        assert result.verdict != "wrong", str(result)
        first, second = ({name: 1.05 * g for name, g in gradients.items()} for gradients in case.gradients)
        mistaken = replace(case, gradients=(first, second))
        assert check_case(mistaken, 0, Plan(coordinates=2)).verdict == "wrong"


def numpy_loss(x):
    """Cross entropy of the first label, in NumPy, which cannot be traced."""
    return np.log(np.exp(np.asarray(x) - x[0]).sum())


def numpy_gradient(x, dy):
    p = np.exp(np.asarray(x) - x[0])
    p /= p.sum()
    p[0] -= 1
    return dy * p


@pytest.mark.skipif(np.finfo(np.longdouble).eps == np.finfo(np.float64).eps, reason="no extended precision here")
@pytest.mark.parametrize(("margin", "verdict"), [(15, "pass"), (20, "pass"), (30, "inconclusive")])
def test_a_function_that_cannot_be_traced_shows_its_rounding_in_extended_precision(margin, verdict) -> None:
    x = np.array([margin, 0.0, 0.1])
    assert check(numpy_loss, x, numpy_gradient).verdict == verdict
    assert check(numpy_loss, x, wrong(numpy_gradient)).verdict == "wrong"


# The wrong gradient.


@pytest.mark.parametrize("margin", [15, 20])
def test_a_mistake_at_a_saturated_point_is_caught(margin) -> None:
    case = saturated_loss(margin)
    broken = replace(case, function=Off(case.function))
    assert check_case(broken, 0).verdict == "wrong"


@pytest.mark.parametrize("margin", [36, 40, 100, 700])
def test_a_mistake_that_rounding_hides_does_not_pass(margin) -> None:
    case = saturated_loss(margin)
    assert check_case(replace(case, function=Off(case.function)), 0).verdict == "inconclusive"


class Off(LossFunction):
    """The loss with a gradient that is 5% too large."""

    def __init__(self, function: LossFunction) -> None:
        super().__init__(function.loss)

    def gradient(self, tensors, constants, dy):
        return {"logits": 1.05 * super().gradient(tensors, constants, dy)["logits"]}


@pytest.mark.parametrize("margin", [40, 100])
def test_a_sample_does_not_pass_for_a_tensor_whose_rest_is_lost_in_rounding(margin) -> None:
    """What is checked may be exact, such as p itself, while the direction that moves the others is noise."""
    found = verdicts(dict(points())[f"softmax, margin {margin}"], range(0, 100, 5))
    assert found["right"]["wrong"] == 0
    assert found["5% too large"]["pass"] == 0
    assert found["one wrong coordinate"]["pass"] == 0


@pytest.mark.parametrize("f", [lambda x: jnp.abs(x) + 1e15, lambda x: jax.lax.erf(x) + 1e15], ids=["abs", "erf"])
def test_noise_that_hides_the_slope_is_no_proof_of_a_linear_function(f) -> None:
    result = check(f, X, lambda x, dy: 1.5 * dy)
    assert result.verdict == "inconclusive"
    assert result.tensors[0].method("Taylor").note == "lost in rounding"
    assert "lost in rounding" in result.tensors[0].diagnosis


@pytest.mark.parametrize("size", [1e-5, 3e-9, 3e-10, 3e-11])
def test_a_dropped_imaginary_part_however_small_deceives_nobody(size) -> None:
    """The complex step then agrees with the gradient that misses the same term."""

    def f(x):
        return jnp.sin(x) + size * x.real**2

    right = check(f, X, lambda x, dy: (jnp.cos(x) + 2 * size * x) * dy)
    assert right.passed, str(right)
    assert "drops an imaginary part" in right.note
    deceived = check(f, X, lambda x, dy: jnp.cos(x) * dy)
    assert deceived.verdict == ("wrong" if size > 1e-6 else "inconclusive"), str(deceived)
    if deceived.verdict == "inconclusive":
        assert "contradict each other" in deceived.tensors[0].diagnosis


def test_where_every_gradient_is_zero_nothing_is_proved() -> None:
    result = check(lambda x: jnp.sum(jax.nn.softmax(x)), X, lambda x, dy: 0 * x)
    assert result.verdict == "inconclusive"
    assert "all gradients here are zero" in result.tensors[0].diagnosis
    assert check(lambda x: jnp.sum(jax.nn.softmax(x)), X, lambda x, dy: 1e-6 * x).verdict == "wrong"


def test_where_differences_are_deceived_a_gradient_that_the_complex_step_confirms_is_not_wrong() -> None:
    """A model at a loss of 1e-7: at one of a hundred points the extrapolated differences are off by 1e-3."""
    result = check_case(dict(points())["model at a loss of 1e-07"](54), 54, PLAN)
    assert result.verdict == "inconclusive", str(result)


# Sizes near the ends of the range.


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e200, 1e300])
def test_a_function_of_any_size_is_checked(scale) -> None:
    def gradient(x, dy):
        return scale * jnp.cos(x) * dy

    assert check(lambda x: scale * jnp.sin(x), X, gradient).passed
    result = check(lambda x: scale * jnp.sin(x), X, wrong(gradient))
    assert result.verdict == "wrong"
    assert "scaled by 1.05" in result.tensors[0].diagnosis


@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1e-160, 1e160, 1e200, 1e290])
def test_an_input_of_any_size_is_checked(scale) -> None:
    def gradient(x, dy):
        return jnp.cos(x / scale) / scale * dy

    assert check(lambda x: jnp.sin(x / scale), scale * X, gradient).passed
    assert check(lambda x: jnp.sin(x / scale), scale * X, wrong(gradient)).verdict == "wrong"


def test_next_to_the_smallest_number_nothing_passes_and_nothing_is_called_wrong() -> None:
    assert check(lambda x: 1e-300 * jnp.sin(x), X, lambda x, dy: 1e-300 * jnp.cos(x) * dy).verdict == "inconclusive"
    assert check(jnp.sin, 1e-298 * X, lambda x, dy: jnp.cos(x) * dy).verdict != "wrong"
    assert check(jnp.sin, 1e-298 * X, lambda x, dy: 1.05 * jnp.cos(x) * dy).verdict != "pass"
    with pytest.raises(CheckError, match="x is so near zero that steps from it underflow"):
        check(jnp.sin, 1e-305 * X, lambda x, dy: jnp.cos(x) * dy)
