"""Loss and accuracies over a split against NumPy, on logits that are pixels of the images: known, and full of ties."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from data.dataset import Split
from training.evaluation import Evaluation, EvaluationStep, Evaluator

MEAN, STD = (0.0,) * 3, (1 / 255,) * 3  # a pixel comes through the normalization as it is


@dataclass(frozen=True)
class Pixels:
    """The logits of an image are the first pixels of its first row, scaled."""

    num_classes: int

    def forward(self, params: Any, x: Any, key: Any = None) -> Any:
        assert key is None  # nothing random in an evaluation
        assert x.shape[1:] == (2, 12, 3)
        Traces.count += 1
        return params * x[:, 0, : self.num_classes, 0], None


class Traces:
    count = 0


def make_split(n: int, classes: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 4, (n, 2, 12, 3), dtype=np.uint8), rng.integers(0, classes, n, dtype=np.int32))


def evaluate(split: Split, classes: int, batch_size: int, scale: float = 1.0) -> Evaluation:
    step = EvaluationStep(Pixels(classes), MEAN, STD)
    return Evaluator(step, split, batch_size)(np.float32(scale), quiet=True)


def logits_of(split: Split, classes: int) -> np.ndarray:
    return split.images[:, 0, :classes, 0].astype(float)


def losses_of(split: Split, classes: int) -> np.ndarray:
    logits = logits_of(split, classes)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), split.labels]


@pytest.mark.parametrize("batch_size", [1, 4, 7, 21, 256])
def test_every_image_counts_once_whatever_the_batch(batch_size: int) -> None:
    """21 images: batches that divide them, that do not, and one larger than all."""
    split = make_split(21, classes=9)
    guesses = np.argsort(-logits_of(split, 9), axis=1, kind="stable")  # of equal logits the first class
    result = evaluate(split, 9, batch_size)
    assert result.images == 21
    assert result.loss == pytest.approx(losses_of(split, 9).mean(), rel=1e-6)
    assert result.top1 == pytest.approx((guesses[:, 0] == split.labels).mean(), abs=1e-12)
    assert result.top5 == pytest.approx((guesses[:, :5] == split.labels[:, None]).any(axis=1).mean(), abs=1e-12)
    np.testing.assert_array_equal(result.labels, split.labels)
    np.testing.assert_array_equal(result.predicted, guesses[:, 0])
    assert 0 < result.top1 < result.top5 < 1


def test_padding_is_not_counted() -> None:
    """The zeros that fill the last batch have the label 0 and equal logits: as images they would all be right."""
    split = make_split(5, classes=9)
    split.labels[:] = 8
    split.images[:, 0, 8, 0] = 0
    split.images[:, 0, 0, 0] = 200
    result = evaluate(split, 9, batch_size=4)
    assert (result.images, result.top1) == (5, 0.0)
    assert result.loss > 100


@pytest.mark.parametrize(("label", "top1", "top5"), [(0, 1.0, 1.0), (4, 0.0, 1.0), (5, 0.0, 0.0), (8, 0.0, 0.0)])
def test_equal_logits_are_one_guess_and_not_a_hit_for_all(label: int, top1: float, top5: float) -> None:
    split = make_split(6, classes=9)
    split.labels[:] = label
    result = evaluate(split, 9, batch_size=4, scale=0.0)
    assert (result.top1, result.top5) == (top1, top5)
    assert result.loss == pytest.approx(math.log(9), rel=1e-6)


def test_a_model_that_knows_nothing_has_the_accuracy_of_chance() -> None:
    split = make_split(36, classes=9)
    split.labels[:] = np.arange(36) % 9
    result = evaluate(split, 9, batch_size=8, scale=0.0)
    assert (result.top1, result.top5) == (pytest.approx(1 / 9), pytest.approx(5 / 9))


def test_balanced_accuracy_counts_every_class_alike_and_only_those_with_images() -> None:
    labels = np.repeat([0, 3, 4], [90, 9, 1])  # of the classes 1 and 2 there are no images

    def balanced(predicted: np.ndarray) -> float:
        return Evaluation(100, 0.0, 0.0, 0.0, labels, predicted).balanced_accuracy

    assert balanced(labels) == 1
    assert balanced(np.zeros(100, int)) == pytest.approx(1 / 3)  # 90% right, and knows nothing
    assert balanced(np.ones(100, int)) == 0
    assert balanced(np.where(np.arange(100) % 3, labels, 2)) == pytest.approx((60 / 90 + 6 / 9 + 0) / 3)
    split = make_split(36, classes=9)
    split.labels[:] = np.arange(36) % 9
    result = evaluate(split, 9, batch_size=8)
    assert 0 < result.top1 == pytest.approx(result.balanced_accuracy)


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_with_up_to_five_classes_the_label_is_always_among_the_first_five(classes: int) -> None:
    result = evaluate(make_split(10, classes), classes, batch_size=4)
    assert result.top5 == 1
    assert result.top1 < 1 or classes == 1


def test_logits_far_apart_leave_the_loss_finite() -> None:
    assert math.isfinite(evaluate(make_split(6, classes=9), 9, batch_size=4, scale=1e6).loss)


def test_all_batches_of_all_evaluations_share_one_program() -> None:
    split = make_split(11, classes=7)
    evaluator = Evaluator(EvaluationStep(Pixels(7), MEAN, STD), split, 4)
    Traces.count = 0
    for scale in (1.0, 2.0):
        evaluator(np.float32(scale), quiet=True)
        evaluator.probe(np.float32(scale))
    assert Traces.count == 1


def test_the_probe_is_the_loss_of_the_first_batch() -> None:
    split = make_split(11, classes=9)
    for batch_size in (4, 256):  # the second is padded nowhere: a batch is never larger than the split
        evaluator = Evaluator(EvaluationStep(Pixels(9), MEAN, STD), split, batch_size)
        expected = losses_of(split, 9)[:batch_size].mean()
        assert evaluator.probe(np.float32(1)) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(evaluator.probe(np.float32(np.nan)))
