"""The full-size checks, on a model small enough for a test."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from checks.exhaustive import ExhaustiveCheck
from checks.exhaustive_case import CHUNK, Tally
from checks.full_size import Point, full_size_layer_cases, random_point, stage_cases
from checks.precision import compare_precisions, precision_lines
from checks.report import summary
from model.loss import CrossEntropy
from model.vit import ViT
from verify import CheckError, Plan, check_case
from verify.programs import jit

pytestmark = pytest.mark.usefixtures("float64")

SMALL = ViT(image_size=(4, 6), patch_size=(2, 3), d_model=8, heads=2, layers=2, mlp_dim=6, num_classes=3)


@pytest.fixture(scope="module")
def point() -> Point:
    return random_point(SMALL, CrossEntropy(0.1), seed=0, batch=2)


@pytest.fixture
def cases(point: Point) -> list:
    """A layer by itself and a stage of the model, to be checked exhaustively."""
    layers = [case for case in full_size_layer_cases(point) if case.name.startswith("head")]
    return layers + [case for case in stage_cases(point) if "block_1" in case.name]


def run(check: ExhaustiveCheck, chunks: int = 10**9) -> ExhaustiveCheck:
    """Let it go on for so many chunks."""
    last = check.position + chunks
    check.run(lambda: check.position >= last, lambda count: None)
    return check


# The stages.


def test_the_stages_have_all_tensors_once_and_pass(point: Point) -> None:
    found = list(stage_cases(point))
    names = [name for case in found for name in case.tensors]
    assert sorted(names) == sorted([*point.params, "images"])
    for case in found:
        result = check_case(case, 0, Plan(coordinates=2, levels=5, first=0))
        assert result.passed, str(result)


@pytest.mark.parametrize(
    "model",
    [
        replace(SMALL, norm="post", final_norm=False, pooling="mean", class_token=False, positions="sinusoidal_1d"),
        replace(SMALL, layers=1, dropout=0.2, embedding_dropout=0.1, attention_dropout=0.2, drop_path=0.1),
        replace(SMALL, residual=False, norm="none"),
        replace(SMALL, layers=0, pooling="mean", class_token=False),
    ],
    ids=["post-norm", "training", "no residual, no norm", "no blocks"],
)
def test_the_stages_add_up_to_other_models_too(model: ViT) -> None:
    point = random_point(model, CrossEntropy(), seed=1, batch=3)
    assert (point.key is not None) == bool(model.dropout)
    for case in stage_cases(point):
        of_images = jit(case.function.value, small=True)(case.tensors, case.constants)
        assert of_images.shape == (3,)
        assert float(of_images.sum()) == pytest.approx(point.value(), rel=1e-12)
    attention = (
        {"ClassTokenAttention" if model.pooling == "class_token" else "MultiHeadAttention"} if model.layers else set()
    )
    assert {case.target for case in full_size_layer_cases(point)} >= {"Dense", "LayerNorm", *attention}


def test_layers_are_checked_on_what_reaches_them(point: Point) -> None:
    """The input of each layer is what the layer before it made."""
    found = {case.name: case for case in full_size_layer_cases(point)}
    pooled = found["head (Dense)"].tensors["x"]
    logits, _ = SMALL.forward(point.tree, point.images)
    np.testing.assert_allclose(pooled @ point.params["head/W"] + point.params["head/b"], logits, rtol=1e-12)
    assert not any("Dropout" in name for name in found), "what drops nothing is the identity"


def test_a_wrong_gradient_of_the_model_is_found_in_its_stage(point: Point) -> None:
    case = next(case for case in stage_cases(point) if "block_1" in case.name)
    name = "encoder/block_1/attention/norm/gamma"
    spoiled = tuple({**gradients, name: 1.01 * gradients[name]} for gradients in case.gradients)
    result = check_case(replace(case, gradients=spoiled), 0, Plan(coordinates=1))
    assert [tensor.name for tensor in result.wrong] == [name]
    assert "scaled by 1.01" in result.wrong[0].diagnosis


# Exhaustively.


def test_every_coordinate_of_every_parameter_is_checked(cases: list) -> None:
    check = run(ExhaustiveCheck(cases, 0, "test"))
    assert check.finished
    assert check.done == check.coordinates == check.passes
    assert check.coordinates == sum(a.size for case in cases for name, a in case.tensors.items() if name != "x")
    for result in check.results():
        assert result.passed, str(result)
        assert all(tensor.checked == tensor.size for tensor in result.tensors)
        assert all(m.worst is None or m.worst < 1e-12 for t in result.tensors for m in t.methods)


def test_resuming_gives_what_an_uninterrupted_check_gives(cases: list, tmp_path: Path) -> None:
    whole = run(ExhaustiveCheck(cases, 0, "test"))
    state = tmp_path / "state.json"
    first = run(ExhaustiveCheck(cases, 0, "test"), chunks=4)
    assert 0 < first.done < first.coordinates
    state.write_text(first.state())
    second = ExhaustiveCheck(cases, 0, "test")
    assert second.resume(state)
    assert second.done == first.done
    run(second)
    assert second.finished
    assert second.state() == whole.state()
    assert not ExhaustiveCheck(cases, 0, "test").resume(tmp_path / "none.json")


def test_workers_change_nothing(cases: list) -> None:
    one, two = ExhaustiveCheck(cases, 0, "test"), ExhaustiveCheck(cases, 0, "test")
    one.run(lambda: False, lambda count: None, workers=1)
    two.run(lambda: False, lambda count: None, workers=3)
    assert one.state() == two.state()


def test_what_is_covered_first_is_a_random_share(cases: list) -> None:
    """Chunks of all cases, in an order that only the seed decides."""
    check, same, other = (ExhaustiveCheck(cases, seed, "test") for seed in (0, 0, 1))
    assert np.array_equal(check.order, same.order)
    assert not np.array_equal(check.order, other.order)
    assert np.array_equal(check.cases[1].order, same.cases[1].order)
    assert sorted(check.cases[1].order) != list(check.cases[1].order)
    assert len(check.order) == sum(-(-len(case.order) // CHUNK) for case in check.cases)


def test_a_state_of_another_check_or_a_damaged_one_is_refused(cases: list, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    check = run(ExhaustiveCheck(cases, 0, "test"), chunks=1)
    state.write_text(check.state())
    with pytest.raises(CheckError, match="of another check"):
        ExhaustiveCheck(cases, 0, "another").resume(state)
    text = state.read_text()
    document = json.loads(text)
    name = next(name for name, tallies in document["tallies"].items() if any(tally["done"] for tally in tallies))
    number = next(number for number, tally in enumerate(document["tallies"][name]) if tally["done"])
    lacking = [{**document, "tallies": {}}, {**document, "tallies": {**document["tallies"], name: []}}]
    others = [{**document, "position": position} for position in (-1, 0, 2, 10**30, 1.5, True, None)]
    tallies = document["tallies"][name]
    for change in ({"done": 0}, {"done": "1"}, {"wrong": 10**6}, {"coordinate": 10**9}, {"worst": None}, {"more": 1}):
        changed = [{**tally, **change} if i == number else tally for i, tally in enumerate(tallies)]
        others.append({**document, "tallies": {**document["tallies"], name: changed}})
    for damaged in ("", "{", "[]", "[" * 5000, "9" * 5000, *map(json.dumps, lacking + others)):
        state.write_text(damaged)
        with pytest.raises(CheckError, match=r"damaged.*delete it"):
            ExhaustiveCheck(cases, 0, "test").resume(state)


def test_what_was_not_reached_is_named_and_has_not_passed(cases: list) -> None:
    check = run(ExhaustiveCheck(cases, 0, "test"), chunks=1)
    found = check.coverage()
    assert (found.done, found.coordinates, found.cases, found.finished) == (check.done, check.coordinates, 2, False)
    reached = {f"{result.name}: {tensor.name}" for result in check.results() for tensor in result.tensors}
    assert reached.isdisjoint(found.unreached)
    assert len(reached) + len(found.unreached) == found.tensors
    assert [*found.unreached_cases, *(result.name for result in check.results())] == [case.name for case in cases]
    told = summary(check.results(), 1.0, 0, found)
    assert f"all pass so far; {len(found.unreached)} of {found.tensors} tensors have not been reached yet" in told
    assert "; 1 of 2 cases not at all" in told
    run(check)
    found = check.coverage()
    assert (found.finished, found.unreached, found.unreached_cases) == (True, [], [])
    assert "so far" not in summary(check.results(), 1.0, 0, found)


def test_a_case_tells_which_of_its_tensors_were_not_reached(cases: list) -> None:
    check = run(ExhaustiveCheck([cases[1]], 0, "test"), chunks=1)
    (result,) = check.results()
    missing = [name.partition(": ")[2] for name in check.coverage().unreached]
    assert missing
    assert result.note == f"not reached yet: {', '.join(missing)}"


def test_nothing_checked_is_nothing_known(cases: list) -> None:
    check = ExhaustiveCheck(cases, 0, "test")
    told = summary(check.results(), 1.0, 0, check.coverage())
    assert "nothing known so far" in told
    assert "pass" not in told


def test_one_wrong_coordinate_is_found_and_named(cases: list) -> None:
    case = cases[1]
    name = "encoder/block_1/feed_forward/feed_forward/expand/W"
    spoiled = tuple({key: np.array(array) for key, array in gradients.items()} for gradients in case.gradients)
    for gradients in spoiled:
        gradients[name][5, 2] *= 1.0001
    check = run(ExhaustiveCheck([replace(case, gradients=spoiled)], 0, "test"))
    wrong = check.results()[0].wrong
    assert check.wrong == 1
    assert [(tensor.name, tensor.methods[0].where) for tensor in wrong] == [(name, (5, 2))]
    assert wrong[0].diagnosis == "1 of 48 checked coordinates are wrong"


def test_where_the_complex_step_fails_differences_take_over() -> None:
    point = random_point(replace(SMALL, gelu="erf", layers=1), CrossEntropy(), seed=0, batch=2)
    cases = [case for case in stage_cases(point) if "block_0" in case.name]
    check = run(ExhaustiveCheck(cases, 0, "test"))
    result = check.results()[0]
    assert check.passes > check.coordinates
    assert result.note.startswith("by central differences: the function takes no complex numbers: ")
    assert result.passed, str(result)


def test_a_tally_counts_errors_and_keeps_the_worst() -> None:
    tally = Tally()
    a, n, bars = np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.5, 3.0]), np.full(3, 1e-9)
    tally.add(np.array([4, 5]), a[:2], n[:2], bars[:2], share=1e-3)
    assert (tally.done, tally.wrong, tally.coordinate, tally.worst, tally.numeric) == (2, 1, 5, 0.5, 2.5)
    tally.add(np.array([6]), a[2:], n[2:], bars[2:], share=1e-3)
    assert (tally.wrong, tally.coordinate, tally.worst) == (2, 6, np.inf)


# Lower precision.


def test_lower_precision_costs_what_its_digits_say(point: Point) -> None:
    rows = compare_precisions(point)
    assert [row.name for row in rows[:-1]] == [*point.gradients()]
    total = rows[-1]
    assert total.name == "all parameters"
    assert 1e-8 < total.errors["float32"] < 1e-5
    assert 1e-3 < total.errors["bfloat16"] < 0.2
    assert 0.98 < total.cosines["bfloat16"] < total.cosines["float32"] <= 1 + 1e-12
    table = precision_lines(rows, every=True)
    assert len(table) == len(rows) + 3, "a title of two lines, and the headings"
    assert max(map(len, table)) <= 80
    assert len(precision_lines(rows, every=False)) < len(rows)


def test_the_cast_gradient_is_the_one_that_training_computes(point: Point) -> None:
    """In float32 throughout: the same as without x64."""
    rows = {row.name: row for row in compare_precisions(point)}
    exact = point.gradients()["head/W"]
    jax.config.update("jax_enable_x64", False)
    single = replace(point, params={k: a.astype(np.float32) for k, a in point.params.items()})
    found = replace(single, images=point.images.astype(np.float32)).gradients(dtype="float32")["head/W"]
    assert found.dtype == np.float32
    error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert error == pytest.approx(rows["head/W"].errors["float32"], rel=0.5)
