"""Cross entropy: gradient, known values, extreme logits, and labels it cannot read."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.loss import CrossEntropy
from tests.oracle import assert_close, normal

pytestmark = pytest.mark.usefixtures("float64")
B, C = 4, 7
LABELS = {"integers": np.array([3, 0, 6, 3]), "probabilities": np.full((B, C), 0.1) + 0.3 * np.eye(B, C)}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", LABELS)
def test_value_and_gradient(kind, smoothing):
    loss, logits, labels = CrossEntropy(smoothing), normal(1, B, C), LABELS[kind]
    value, cache = loss.forward(logits, labels)
    one_hot = jax.nn.one_hot(labels, C) if kind == "integers" else labels.astype(float)
    expected = optax.softmax_cross_entropy(logits, (1 - smoothing) * one_hot + smoothing / C)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-12)
    np.testing.assert_allclose(loss.each(logits, labels), expected, rtol=1e-12)
    assert_close(loss.backward(cache), jax.grad(lambda z: loss.forward(z, labels)[0])(logits))


def test_gradient_for_labels_that_do_not_sum_to_one():
    loss, logits, labels = CrossEntropy(0.1), normal(1, B, C), 0.3 + np.abs(normal(2, B, C))
    _, cache = loss.forward(logits, labels)
    assert_close(loss.backward(cache), jax.grad(lambda z: loss.forward(z, labels)[0])(logits))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand_do_not_overflow(dtype):
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype)
    loss, cache = CrossEntropy().forward(logits, jnp.array([0, 0]))
    assert float(loss) == pytest.approx(1e4)  # 0 for the first, 2e4 for the second
    np.testing.assert_allclose(CrossEntropy().backward(cache), [[0, 0, 0], [-0.5, 0.5, 0]], atol=1e-7)


@pytest.mark.parametrize("label", [-1, C])
def test_a_label_outside_the_classes_is_not_taken_silently(label):
    loss, _ = CrossEntropy().forward(normal(1, 1, C), jnp.array([label]))
    assert jnp.isnan(loss)


@pytest.mark.parametrize("labels", [jnp.zeros(B), jnp.zeros(B + 1, int), jnp.zeros((B, C + 1))])
def test_other_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be \(4,\) integers or \(4, 7\) probabilities"):
        CrossEntropy().forward(normal(1, B, C), labels)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(smoothing)
