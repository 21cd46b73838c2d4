"""The page of evaluate.py --html: what its figures show, and that any model, any data and any name have one."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import evaluate
from data.dataset import Split
from tests.conftest import Ended
from tests.oracle import random_params
from training import checkpoint
from training.classes import Classes
from training.config import load_config
from training.evaluation import EvaluationStep, Evaluator
from training.report import about, looks, results
from training.report.analysis import (
    calibration_error,
    confusion_matrix,
    patch_filters,
    position_similarity,
    principal_components,
    reliability,
    similar_together,
)
from training.report.charts import COUNTED, WORD, Line, apart, line_chart, matrix
from training.report.confusions import confusions
from training.report.material import Material, section
from training.report.pictures import attention_over, similarity_tiles, thumbnail
from training.report.writing import SECTIONS, as_html
from training.run_folder import RunFolder
from training.trained import load_trained

# The numbers behind the figures.


def test_classes_that_are_taken_for_each_other_become_neighbours() -> None:
    """Two families, {0, 3, 5} and {1, 4}; in the first, 3 is confused with both others. 2 is confused with nothing."""
    confusion = 20 * np.eye(6, dtype=int)
    for a, b, count in [(0, 3, 9), (3, 5, 5), (5, 3, 2), (1, 4, 7), (4, 1, 7), (0, 1, 1)]:
        confusion[a, b] = count
    order = similar_together(confusion).tolist()
    assert sorted(order) == list(range(6))
    text = "".join(map(str, order))
    assert "035" in text or "530" in text
    assert "14" in text or "41" in text
    assert text.endswith("2")
    np.testing.assert_array_equal(similar_together(np.eye(4, dtype=int)), np.arange(4))


@pytest.mark.parametrize("points", [50, 5])  # more, and fewer than there are dimensions
def test_components_are_the_directions_of_largest_variance(points: int) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(points, 6)) * [1, 5, 0.1, 2, 0.1, 0.1] + 7
    coordinates, directions, shares = principal_components(data, 3)
    _, singular, right = np.linalg.svd(data - data.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions @ right[:3].T), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(shares, singular[:3] ** 2 / (singular**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(coordinates, (data - data.mean(axis=0)) @ directions.T, atol=1e-9)
    assert (directions[np.arange(3), np.abs(directions).argmax(axis=1)] > 0).all()
    still = principal_components(np.ones((4, 2)), 5)
    assert still.coordinates.shape == (4, 2)  # there are no more than two directions
    assert not still.shares.any()


def test_similarity_of_positions_by_hand() -> None:
    found = position_similarity(np.array([[3.0, 4.0], [-6.0, -8.0], [4.0, -3.0], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], atol=1e-12)


def test_filters_have_the_shape_of_a_patch_and_zero_in_the_middle() -> None:
    pattern = np.linspace(-1, 1, 2 * 3 * 3)
    weights = pattern[:, None] * np.array([[2.0, -1.0, 4.0, 0.5]])  # (P, D), of rank 1
    found, shares = patch_filters(weights, (2, 3, 3), 2)
    assert found.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)
    np.testing.assert_allclose(np.abs(found[0].ravel() - 0.5), np.abs(pattern) / 2, atol=1e-12)


def test_reliability_counts_each_image_once() -> None:
    probabilities = np.array([0.05, 0.72, 0.78, 1.0], np.float32)
    bins = reliability(probabilities, np.array([False, True, False, True]))
    assert [(b.images, b.right) for b in bins] == [(1, 0.0), (2, 0.5), (1, 1.0)]
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.25 + 0) / 4, rel=1e-6)


def test_the_surest_mistakes_come_first() -> None:
    probabilities, right = np.array([0.9, 0.2, 0.7, 0.8]), np.array([True, False, False, False])
    assert results.confident_mistakes(probabilities, right, 2).tolist() == [3, 2]


def test_of_many_classes_the_two_most_confused_pairs_and_the_easiest_are_coloured() -> None:
    confusion = np.diag([9, 1, 8, 1, 1, 7, 6, 5, 4, 3])
    confusion[1, 3], confusion[4, 3], confusion[6, 8], confusion[8, 6] = 9, 8, 2, 2
    assert looks.coloured_classes(confusion)[:4] == [1, 3, 6, 8]  # 3 is in the first pair already
    assert looks.coloured_classes(confusion)[4:] == [0, 2, 5, 7]
    assert looks.coloured_classes(np.eye(3, dtype=int)) == [0, 1, 2]


# Charts and pictures.


def test_a_line_leaves_out_what_is_no_number_and_a_single_point_has_a_place() -> None:
    lines = [Line("a", [(1, 2.0), (2, float("nan")), (3, float("inf"))], "a"), Line("b", [], "b")]
    drawn = line_chart(lines, label="l", x="x", y="y")
    assert drawn.count("<circle") == 1
    assert "nan" not in drawn
    assert line_chart([Line("a", [(1, float("nan"))], "a")], label="l", x="x", y="y") == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.005, 0.012), ["0.4%", "0.6%", "0.8%", "1.0%", "1.2%"]),
        ((0.1, 0.5), ["10%", "20%", "30%", "40%", "50%"]),
        ((0.12, 0.2), ["12%", "14%", "16%", "18%", "20%"]),
    ],
)
def test_the_marks_of_an_axis_in_percent_are_different_numbers(values: tuple[float, ...], expected: list[str]) -> None:
    drawn = line_chart([Line("a", list(enumerate(values)), "a")], label="l", x="x", y="y", percent=True)
    assert re.findall(r'text-anchor="end">(.*?)<', drawn) == expected


def test_a_small_matrix_has_its_counts_and_a_large_one_a_shape_for_each_level() -> None:
    small = matrix(np.array([[3, 1], [0, 2]]), ["a<b", "c"])
    assert "a&lt;b taken for c: 1 of 4 images" in small
    assert small.count("<rect") == 3
    large = matrix(np.eye(COUNTED + 1, dtype=int) * 2, ["x"] * (COUNTED + 1))
    assert large.count('class="right"') == 1
    assert large.count("h10v10h-10z") == COUNTED + 1


def test_words_do_not_cover_each_other() -> None:
    places = apart(np.array([[100.0, 50.0], [110.0, 52.0], [90.0, 49.0], [100.0, 400.0]]))
    assert places[3].tolist() == [100, 400]
    assert np.diff(np.sort(places[:3, 1])).min() >= WORD[1]


def test_tiles_lie_as_the_patches_do() -> None:
    """Each tile is brightest at its own place, also in a grid that is not square."""
    image, low = similarity_tiles(np.eye(6), (2, 3))
    assert low == 0
    pixels = np.asarray(image).astype(int)
    bright = (pixels[..., :3].sum(axis=-1) > 500) & (pixels[..., 3] > 0)
    height, width = bright.shape
    cell = width // (3 * 3 + 2 * 2)  # three tiles of three patches, and two gaps as wide as two of them
    assert (height, width) == ((2 * 2 + 2) * cell, 13 * cell)
    for row in range(2):
        for column in range(3):
            top, left = row * (2 + 2) * cell, column * (3 + 2) * cell
            tile = bright[top : top + 2 * cell : cell, left : left + 3 * cell : cell]
            assert np.argwhere(tile).tolist() == [[row, column]]
    large, _ = similarity_tiles(np.eye(40 * 40), (40, 40))
    assert large.width < 2000  # a sample of the tiles


@pytest.mark.parametrize("shape", [(6, 8, 1), (6, 8, 3), (4, 900, 3), (300, 200, 1)])
def test_images_of_any_shape_are_drawn(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    small = thumbnail(pixels)
    assert max(small.size) <= 96
    assert attention_over(pixels, np.array([[0.0, 0.5], [0.25, 0.0]])).size == small.size
    assert attention_over(pixels, np.zeros((2, 2))).size == small.size  # no brightest patch


# The page.


VOID = {"meta", "img", "input"}


class Checked(HTMLParser):
    """Markup that is closed in order, refers to nothing outside, and describes its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert set(self.targets) <= set(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._check(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._check(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)

    def _check(self, tag: str, attributes: dict[str, str | None]) -> None:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href"):
            value = attributes.get(name)
            if value is not None and value.startswith("#"):
                self.targets.append(value[1:])
            elif value is not None:
                assert value.startswith("data:image/png;base64,")
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes["alt"]
        if attributes.get("role") == "img":
            assert attributes["aria-label"]
        if attributes.get("id"):
            self.ids.append(str(attributes["id"]))


NAMES = ("<script>alert(1)</script>", "50% café & \"x\"", "狐 fox", "\x1b[31m\u202eevil", "</title>'")  # fmt: skip
TINY = {
    "image_size": (6, 8), "patch_size": (3, 2), "channels": 3, "d_model": 12, "heads": 3, "layers": 2, "mlp_dim": 7,
    "num_classes": 5, "class_token": True, "pooling": "class_token",
}  # fmt: skip


def make_material(folder: Path, n: int = 9, params: Any = None, **options: Any) -> Material:
    """A run without metrics and a log, as an imported one, evaluated on noise."""
    values = {**TINY, **options}
    shown = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    written = [f"model.{key}={str(value).lower() if value is not None else 'null'}" for key, value in shown.items()]
    config = load_config("baseline", [*written, "data.name=cifar10"], allow_idle=True)
    vit = config.model
    run = RunFolder.create("baseline", folder)
    run.write_config(config)
    count = vit.num_classes
    ids = tuple(f"n{i}" for i in range(count))
    names = (*NAMES, *(f"class {i}" for i in range(5, count)))[:count]
    run.write_classes(Classes(ids, names, (0.5,) * vit.channels, (0.2,) * vit.channels, "x"))
    params = jax.tree.map(lambda a: np.asarray(a, np.float32), random_params(vit) if params is None else params)
    checkpoint.save(run.best, {"params": params}, {"step": 7})
    trained = load_trained(run)
    rng = np.random.default_rng(0)
    height, width = values["image_size"]
    images = rng.integers(0, 256, (n, height, width, vit.channels), dtype=np.uint8)
    split = Split(images, rng.integers(0, count, n, dtype=np.int32))
    step = EvaluationStep(vit, trained.classes.mean, trained.classes.std, in_detail=True)
    result = Evaluator(step, split, 4)(trained.params, quiet=True)
    report = evaluate.make_report(result, trained.classes)
    return Material(trained, result, report, split, f"{n} validation images", "cpu, 2 cores", 0.5)


WITHOUT_BLOCKS = {"layers": 0, "pooling": "mean", "class_token": False}
KINDS: list[tuple[dict[str, Any], str]] = [
    ({}, "the run has no metrics.csv"),
    ({"pooling": "mean", "class_token": False, "positions": "sinusoidal_2d"}, "are fixed, not learned"),
    ({"channels": 1, "positions": "none", "pooling": "mean"}, "the model has no position embedding"),
    ({**WITHOUT_BLOCKS, "num_classes": 1}, "Left out: a model with model.layers=0 has no attention"),
    (
        {"shifted_patches": True, "patch_norm_before": True, "num_classes": 30, "dtype": "bfloat16"},
        "not the four shifted ones",
    ),
    ({"patch_size": (6, 8), "d_model": 1, "heads": 1, "n": 1}, "Left out: the image is a single patch"),
]


@pytest.mark.parametrize(("options", "said"), KINDS, ids=lambda value: "" if isinstance(value, str) else str(value))
def test_every_model_has_a_page_and_what_does_not_apply_is_left_out_with_the_reason(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    material = make_material(tmp_path / "run", **options)
    page = as_html(material)
    checked = Checked(page)
    text = " ".join(checked.text)
    assert said in text
    assert set(checked.ids) >= {anchor for anchor, _, _ in SECTIONS}
    for name in material.names[:3]:
        assert name in text  # read as text again
    assert not re.search("[\x00-\x08\x1b\u202e]", page)
    assert "<script>alert" not in page.replace(r"\u003c", "<script-in-json>")
    assert not re.search(r"https?://|url\(|@import", page)


def test_a_run_that_diverged_has_a_page(tmp_path: Path) -> None:
    material = make_material(tmp_path / "whole")
    ruined = jax.tree.map(lambda a: np.full_like(a, np.nan), material.trained.params)
    text = " ".join(Checked(as_html(make_material(tmp_path / "run", params=ruined))).text)
    assert text.count("no number, as of a run that diverged") + text.count("no numbers, as of a run that diverged") >= 5


def test_damaged_metrics_leave_out_the_curves_alone(tmp_path: Path) -> None:
    material = make_material(tmp_path / "run")
    material.trained.run.metrics_file.write_text("what\n1\n")
    assert "Left out: " in results.learning_curves(material)
    assert "its columns are not" in results.learning_curves(material)
    Checked(as_html(material))


def test_nothing_to_be_confused_is_said(tmp_path: Path) -> None:
    material = make_material(tmp_path / "run")
    perfect = material.result._replace(predicted=material.result.labels)
    right = Material(material.trained, perfect, material.figures, material.split, "", "", 0.0)
    assert "Nothing was taken for anything else" in confusions(right)
    assert "there is no mistake" in results.mistakes(right)
    assert len(looks.attended_images(right)) == 4


def test_attention_is_drawn_of_right_images_of_different_classes_and_of_mistakes(tmp_path: Path) -> None:
    material = make_material(tmp_path / "run", n=40)
    chosen = looks.attended_images(material)
    right = [i for i in chosen if material.right[i]]
    assert len({int(material.result.labels[i]) for i in right}) == len(right)
    assert len(chosen) - len(right) == 2
    assert looks.attention(material).count("<img") == len(chosen) * (3 + 3)  # image, mean, rollout, and three heads


def test_options_that_differ_from_the_defaults_stand_first(tmp_path: Path) -> None:
    first, _, everything = about.options(make_material(tmp_path / "run")).partition("<details>")
    assert "<code>model.d_model</code></td><td>12</td><td>256</td>" in first
    assert "optim.momentum" not in first
    assert "<code>optim.momentum</code></td><td>0.95</td>" in everything


def test_a_title_is_text() -> None:
    assert "<h2>a &lt;b&gt;</h2>" in section("x", "a <b>")


# The command.


def test_the_command_writes_the_page_and_the_figures_stay_those_of_the_evaluation(
    call: Callable[..., Ended], finished: Path, tmp_path: Path
) -> None:
    ended = call(evaluate.main, finished, "--html", "page.html", "--device", "cpu")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("\nwritten: page.html\n")
    top1 = re.search(r"^top-1 +(\S+)", ended.out, re.MULTILINE)
    assert top1
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = " ".join(Checked(page).text)
    assert f"{finished.name}: {top1[1]} top-1 on 36 validation images" in text
    assert "The upright line marks the checkpoint" in text  # there are metrics
    assert len(page) < 500_000


def test_a_page_that_cannot_be_written_is_said_before_the_work(call: Callable[..., Ended], finished: Path) -> None:
    ended = call(evaluate.main, finished, "--html", "nowhere/page.html", "--device", "cpu")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --html nowhere/page.html: there is no folder nowhere; make it first\n"


@pytest.mark.parametrize("page", ["./a", "link"])
def test_the_page_and_the_numbers_are_two_files(
    page: str, call: Callable[..., Ended], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(SystemExit):
        call(evaluate.main, "--json", "a", "--html", page)
    assert "--json, --csv and --html: name a file for each" in capfd.readouterr().err


def test_detail_changes_nothing_of_the_evaluation(tmp_path: Path) -> None:
    material = make_material(tmp_path / "run", n=10)
    trained = material.trained
    step = EvaluationStep(trained.model, trained.classes.mean, trained.classes.std)
    plain = Evaluator(step, material.split, 4)(trained.params, quiet=True)
    assert plain.loss == pytest.approx(material.result.loss, rel=1e-6)
    np.testing.assert_array_equal(plain.predicted, material.result.predicted)
    assert (plain.probabilities, plain.features) == (None, None)
    pixels = (material.split.images / 255 - 0.5) / 0.2
    features, logits = jax.jit(trained.model.features)(trained.params, pixels.astype(np.float32))
    np.testing.assert_allclose(material.features, features, rtol=1e-4, atol=1e-5)
    expected = np.asarray(jax.nn.softmax(logits)).max(axis=1)
    np.testing.assert_allclose(material.probabilities, expected, rtol=1e-4)
    assert confusion_matrix(plain.labels, plain.predicted, 5).sum() == 10
