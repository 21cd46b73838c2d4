"""The exercises: every stub fails, every solution passes, and each typical mistake is answered with its question."""

import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from exercises.machinery import checking, faults, runner, vit_exercise
from exercises.machinery.answers import TO_DO, Answer, load_answer, parse
from exercises.machinery.catalogue import EXERCISES, find_exercise, solution_module
from exercises.machinery.chapters import places
from exercises.machinery.checking import check, expected
from exercises.machinery.effort import EFFORTS
from exercises.machinery.exercise import flatten
from exercises.machinery.items import ITEMS
from exercises.machinery.outcome import Outcome
from exercises.machinery.shapes import shapes
from exercises.machinery.workspace import STUBS

pytestmark = pytest.mark.usefixtures("float64")

NAMES = [exercise.name for exercise in EXERCISES]


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., Outcome]:
    """`judged(name, source)` checks this text as the reader's file."""

    def judged(name: str, source: str, **options: bool) -> Outcome:
        path = tmp_path / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        return check(find_exercise(name), path, **options)

    return judged


@pytest.fixture
def told(judged: Callable[..., Outcome]) -> Callable[[str, str], str]:
    """`told(name, body)` is what is said of a solution whose body is this."""

    def told(name: str, body: str) -> str:
        outcome = judged(name, written(name, body))
        assert outcome.state == "wrong"
        return "\n".join(outcome.lines)

    return told


def written(name: str, body: str) -> str:
    """The reader's file with this body."""
    return load_answer(name).stub.replace(TO_DO, textwrap.indent(body, "    ") + "\n")


def line_of_body(name: str, line: int) -> int:
    """The number that the body's line (from 0) has in the file."""
    return load_answer(name).stub.count("\n") + line


@pytest.mark.parametrize("name", ITEMS)
def test_every_exercise_has_a_file_three_hints_and_an_explanation(name: str) -> None:
    answer = load_answer(name)
    file = (STUBS / f"{name}.py").read_text(encoding="utf-8")
    assert file == answer.stub, "python -m exercises start restores it, and moves what was written there"
    assert len(answer.hints) == 3
    assert len(set(answer.hints)) == 3
    assert len(answer.explanation) > 100


@pytest.mark.parametrize("name", ITEMS)
def test_a_stub_is_the_solution_without_the_body_of_its_last_function(name: str) -> None:
    answer = load_answer(name)
    body = answer.solution.rpartition('"""')[2].strip()
    assert len(body) > 20
    assert body not in answer.stub
    assert answer.source.startswith(answer.stub.removesuffix(TO_DO))


@pytest.mark.parametrize("name", ITEMS)
def test_the_solution_lies_nowhere_in_the_open(name: str) -> None:
    hidden = (STUBS / "answers" / f"{name}.rot13").read_text(encoding="utf-8")
    for line in load_answer(name).solution.splitlines()[3:]:
        assert len(line.strip()) < 12 or line not in hidden


# Stub, solution, mistakes.


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_stub_is_still_to_do(name: str, judged: Callable[..., Outcome]) -> None:
    outcome = judged(name, load_answer(name).stub)
    assert outcome.state == "to do"
    assert "still empty" in outcome.lines[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_down_to_every_entry(name: str, judged: Callable[..., Outcome]) -> None:
    outcome = judged(name, load_answer(name).source)
    assert outcome == Outcome("passed")
    assert outcome.parts
    assert all(outcome.parts.values())
    assert all(outcome.checkpoints.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_typical_mistake_is_answered_with_its_own_question(name: str, judged: Callable[..., Outcome]) -> None:
    mistakes = load_answer(name).mistakes
    assert len(mistakes) >= 3
    for mistake in mistakes:
        outcome = judged(name, mistake.source)
        assert outcome.state == "wrong"
        assert any(mistake.question in line for line in outcome.lines), f"{mistake.question}: {outcome.lines}"


@pytest.mark.parametrize("name", ["dense_parameters", "gelu_erf", "layer_norm", "pre_norm_block"])
def test_the_last_stage_measures_and_believes_no_solution(
    name: str, judged: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = load_answer(name).mistakes[0].source
    monkeypatch.setattr(checking, "load_answer", lambda name: Answer(wrong, "", (), ()))
    monkeypatch.setattr(checking, "_wrong_versions", lambda exercise, seed: [])
    assert judged(name, wrong, measured=False).state == "passed"
    outcome = judged(name, wrong)
    assert outcome.state == "wrong"
    assert any("analytic" in line for line in outcome.lines)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("softmax", "diagonal of the Jacobian"),
        ("attention", "1/sqrt(K) is missing"),
        ("multi_head_attention", "1/sqrt(K) is missing"),
        ("multi_head_attention", "merge is not undone"),
        ("split_heads", "transposition is not undone"),
        ("merge_heads", "transposition is not undone"),
        ("layer_norm", "path through the mean missing"),
        ("layer_norm", "path through the variance missing"),
        ("layer_norm", "direct path is not"),
        ("layer_norm", "gamma comes last"),
        ("class_token", "dpositions is not summed over the batch"),
        ("class_token", "dclass_token is not summed over the batch"),
        ("residual", "assigned where it should be added to"),
        ("gelu_tanh", "derivative of the erf form"),
        ("gelu_erf", "derivative of the tanh form"),
        ("cross_entropy", "Where did 1/B go"),
        ("label_smoothing", "labels are not smoothed"),
        ("layer_scale", "gamma is left out of dbranch"),
        ("muon", "momentum does not look ahead"),
        ("central_difference", "The step has no unit"),
        ("complex_step", "absolute value is still in it"),
        ("taylor_test", "not multiplied by the step"),
        ("temperature", "tau is left out of dlogits"),
        ("moving_average", "no warmup of d"),
        ("accumulation", "mean of the means"),
        ("attention_in_blocks", "runs over this block only"),
        ("rollout", "reverse order"),
        ("integrated_gradients", "gradient of the loss"),
        ("ring", "This is the sum, not the mean"),
    ],
)
def test_the_mistakes_that_everybody_makes_are_known(name: str, words: str) -> None:
    assert any(words in mistake.question for mistake in load_answer(name).mistakes)


def test_a_mistake_must_patch_code_that_is_there_once() -> None:
    text = '=== file\n\ndef backward(cache, dy):\n    """Doc."""\n    return dy + dy\n=== mistake Why?\n- {}\n+ 1\n'
    assert parse(text.format("dy + dy")).mistakes[0].source.endswith("return 1\n")
    for code in ("dy", "dz"):
        with pytest.raises(ValueError, match="times, not once"):
            parse(text.format(code))


# What is said.


def test_a_known_mistake_shows_the_invariant_the_question_an_index_and_the_readers_value_only(
    judged: Callable[..., Outcome],
) -> None:
    mistake = next(m for m in load_answer("layer_norm").mistakes if "through the mean missing" in m.question)
    lines = judged("layer_norm", mistake.source).lines
    assert len(lines) == 4
    assert lines[0].startswith("dx: sum over the features of dx is ")
    assert lines[0].endswith(", should be 0. Is the path through the mean missing?")
    assert lines[1].startswith("  your dx[")
    assert "true" not in lines[1]
    assert way(lines) == "on the way back: dx is the first that is wrong; right before it: dxhat"
    revealed = judged("layer_norm", mistake.source, reveal=True).lines[1]
    index = tuple(int(i) for i in revealed.partition("[")[2].partition("]")[0].split(", "))
    true = expected(find_exercise("layer_norm"), 0)["dx"][index]
    assert revealed == f"{lines[1]}; the true value is {true:.6g}"


def test_a_sum_without_an_axis_and_an_unused_gradient_are_named(told: Callable[[str, str], str]) -> None:
    said = told("softmax", "p = cache.p\nreturn p * (dp - (dp * p).sum())")
    assert "`sum` without an axis" in said
    said = told("cross_entropy", "return cache.p - cache.targets")
    assert "dloss is never used" in said


def test_a_sum_over_all_numbers_is_not_blamed_where_the_solution_has_one(judged: Callable[..., Outcome]) -> None:
    right = load_answer("muon").source
    said = "\n".join(judged("muon", right.replace("direction = RMS *", "direction = 0.7 *")).lines)
    assert said.startswith("theta: ")
    assert "without an axis" not in said


def test_mistakes_in_different_gradients_are_each_told(told: Callable[[str, str], str]) -> None:
    said = told("dense_parameters", "return cache.x[0].T @ dy[0], dy.mean(axis=(0, 1))")
    assert "dW: dW counts the first image only" in said
    assert "db: db is a mean over the rows" in said


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 2 * dy @ cache.W.T", "dx: scaled by 2"),
        ("return dy @ cache.W.T / 12", "dx: scaled by 1/D"),
        ("return abs(dy) @ cache.W.T", "not linear in dy"),
        ("return dy @ cache.W.T + 0.1", "not linear in dy"),
        ("return jnp.ones_like(dy) @ cache.W.T", "dx: dy is never used: what has come back from the loss must go in"),
        ("return dy @ cache.W.T - dy.sum()", "`sum` without an axis runs over all numbers at once. Along which axis"),
        ("return dy @ cache.W.T - jnp.mean(dy)", "`mean` without an axis runs over all numbers at once"),
        ("return (dy @ cache.W.T).astype('float32')", "it is float32"),
        ("return dy @ cache.W.T, dy", "returns 2 values; asked for: dx"),
        ("return {'W': dy}", "dx is missing; dx/W is not asked for"),
        ("return 'dx'", "dx is not an array of numbers"),
        ("dx = dy @ cache.W.T", "returns nothing: is there a `return`? asked for: dx"),
    ],
)
def test_a_mistake_that_is_on_no_list_is_described(told: Callable[[str, str], str], body: str, words: str) -> None:
    assert words in told("dense_input", body)


def test_gradients_in_another_order_are_recognized(judged: Callable[..., Outcome]) -> None:
    right = load_answer("attention").source
    said = "\n".join(judged("attention", right.replace("return dq, dk, dv", "return dv, dk, dq")).lines)
    assert "dq: this is dv, in place of dq" in said
    assert "dv: this is dq, in place of dv" in said


def test_numpy_will_do_as_well(judged: Callable[..., Outcome]) -> None:
    body = "import numpy as np\nreturn np.asarray(dy) @ np.asarray(cache.W).T"
    assert judged("dense_input", written("dense_input", body)) == Outcome("passed")


def test_the_cache_may_hold_more_but_the_output_must_stay(judged: Callable[..., Outcome]) -> None:
    source = load_answer("dense_input").source
    more = source.replace("    W: jax.Array  # (D, M)", "    W: jax.Array\n    x: object").replace(
        "Cache(W)", "Cache(W, x)"
    )
    assert judged("dense_input", more).state == "passed"
    other = judged("dense_input", source.replace("x @ W + b", "x @ W - b"))
    assert other.state == "wrong"
    assert "`forward` no longer returns what it did" in other.lines[0]
    assert "reset dense_input" in other.lines[0]


# Checkpoints: the gradients on the way back.


def way(lines: tuple[str, ...]) -> str:
    """What is told of the way back, in one line and without the numbers of lines."""
    start = next((i for i, line in enumerate(lines) if line.startswith("on the way back: ")), len(lines))
    assert all(len(line) <= 76 for line in lines[start:])
    return re.sub(r" \(line \d+\)", "", " ".join(line.strip() for line in lines[start:]))


@pytest.mark.parametrize(
    ("name", "words", "first", "before"),
    [
        ("multi_head_attention", "merge is not undone", "dmixed", "dmerged"),
        ("multi_head_attention", "not transposed in dv", "dv", "dweights"),
        ("multi_head_attention", "Jacobian is taken as diagonal", "dscores", "dv"),
        ("multi_head_attention", "divided by sqrt(D)", "dscores", "dv"),
        ("multi_head_attention", "1/sqrt(K) is missing:", "dq", "dscores"),
        ("multi_head_attention", "not transposed in dk", "dk", "dq"),
        ("multi_head_attention", "exchanged in dqkv", "dqkv", "dk"),
        ("pre_norm_block", "skip past the feed-forward is missing", "dh", "df"),
        ("post_norm_block", "skip past the attention is missing", "dx", "da"),
        ("attention_in_blocks", "1/sqrt(K) is missing in dscores", "dq", "dscores"),
    ],
)
def test_the_first_gradient_that_is_wrong_is_named(
    name: str, words: str, first: str, before: str, judged: Callable[..., Outcome]
) -> None:
    mistake = next(mistake for mistake in load_answer(name).mistakes if words in mistake.question)
    outcome = judged(name, mistake.source)
    assert f": {first} is the first that is wrong; right before it: " in way(outcome.lines)
    assert outcome.checkpoints[before]
    assert not outcome.checkpoints[first]


def test_half_a_backward_is_told_how_far_it_is_right(judged: Callable[..., Outcome]) -> None:
    answer = load_answer("multi_head_attention")
    half = answer.source.partition("    dscores = weights * (")[0] + TO_DO
    outcome = judged("multi_head_attention", half)
    assert outcome.state == "to do"
    assert outcome.lines[0].endswith("is not finished")
    assert way(outcome.lines) == "on the way back: right so far: dW_out, db_out, dmerged, dmixed, dweights, dv"
    assert not any(outcome.parts.values())

    wrong = half.replace("dweights = dmixed @ v.", "dweights = dmixed @ k.")
    outcome = judged("multi_head_attention", wrong)
    assert outcome.state == "wrong"
    assert ": dweights is the first that is wrong; right before it: dW_out, db_out, dmerged, dmixed" in way(
        outcome.lines
    )

    outcome = judged("multi_head_attention", half.replace(TO_DO, "    return dv @ dmixed"))
    assert "dot_general" in outcome.lines[1]
    assert way(outcome.lines).endswith("right so far: dW_out, db_out, dmerged, dmixed, dweights, dv")


def test_a_name_may_be_used_twice_and_in_another_shape(told: Callable[[str, str], str]) -> None:
    """`dweights` is right in the end, `dv` first has another meaning and `dmixed` another shape: none is blamed."""
    said = told("attention", "q, k, v, weights = cache\ndweights = dy\ndweights = dweights @ v.swapaxes(-1, -2)\n"
                "dv = dy.sum()\nreturn dy, dy, weights.swapaxes(-1, -2) @ dy")  # fmt: skip
    assert "on the way back: right so far: dweights" in said


def test_a_gradient_with_a_factor_that_comes_later_is_right(judged: Callable[..., Outcome]) -> None:
    source = load_answer("attention_in_blocks").source
    later = source.replace("(dweights - row) * scale", "(dweights - row)").replace(
        "= dq + dscores @", "= dq + 2 * dscores @"
    )
    outcome = judged("attention_in_blocks", later.replace("swapaxes(-1, -2) @ q)\n", "swapaxes(-1, -2) @ q * scale)\n"))
    assert outcome.parts == {"dq": False, "dk": True, "dv": True}
    assert outcome.checkpoints["dscores"]


def test_names_that_the_solution_does_not_have_say_nothing(told: Callable[[str, str], str]) -> None:
    assert "on the way" not in told("softmax", "p = cache.p\ndinner = dp * p\nreturn dinner")


def test_a_mistake_of_the_whole_is_looked_for_in_the_order_of_the_way_back() -> None:
    names = [
        "embed/W",
        "blocks/0/norm_1/beta",
        "blocks/1/attention/W_out",
        "head/b",
        "blocks/1/feed_forward/b_1",
        "norm/beta",
    ]
    back = sorted((f"grads/{name}" for name in names), key=vit_exercise._on_the_way_back)
    assert [names.index(name.removeprefix("grads/")) for name in back] == [3, 5, 4, 2, 1, 0]


# What is asked for is told part by part, for whoever grades.


def test_each_part_has_its_verdict(judged: Callable[..., Outcome]) -> None:
    right = load_answer("layer_norm").source
    assert judged("layer_norm", right.replace("dbeta = dy.sum(", "dbeta = dy.mean(")).parts == {
        "dx": True, "dgamma": True, "dbeta": False,
    }  # fmt: skip
    assert not any(judged("layer_norm", right.replace("return dx, dgamma", "return dx")).parts.values())
    assert not any(judged("layer_norm", "import nothing_of_the_kind\n").parts.values())
    mean = next(m for m in load_answer("moving_average").mistakes if "exchanged in the age" in m.question)
    assert judged("moving_average", mean.source).parts == {"average": True, "shares": True, "age": False}


def test_a_gradient_that_is_not_linear_is_no_part_that_is_right(judged: Callable[..., Outcome]) -> None:
    outcome = judged("layer_norm", load_answer("layer_norm").source.replace(
        "dbeta = dy.sum(axis=(0, 1))", "dbeta = jnp.clip(dy, -9, 9).sum(axis=(0, 1))"))  # fmt: skip
    assert "dbeta: not linear in dy" in outcome.lines[0]
    assert outcome.parts == {"dx": True, "dgamma": True, "dbeta": False}


def test_every_exercise_has_a_level_and_minutes_and_a_chapter() -> None:
    assert EFFORTS.keys() == ITEMS.keys()
    assert {item.effort.level for item in ITEMS.values()} == {1, 2, 3}
    assert all(5 <= item.effort.minutes <= 120 for item in ITEMS.values())
    order = [item.place for item in ITEMS.values()]
    assert None not in order
    assert order == sorted(order)


def test_a_book_that_is_elsewhere_leaves_the_exercises_in_their_order(tmp_path: Path) -> None:
    assert places(tmp_path / "nowhere") == {}
    text = "**Now you.** Do `softmax`,\nthen `gelu_tanh`.\n\n`dropout`\n\n**Now you.** And `softmax` again, `vit`.\n\n"
    (tmp_path / "07-some.md").write_text(text)
    found = places(tmp_path)
    assert sorted(found, key=found.__getitem__) == ["softmax", "gelu_tanh", "vit"]
    assert {place.chapter for place in found.values()} == {7}


# One clear message that names the line.


def test_a_syntax_error_names_its_line(told: Callable[[str, str], str]) -> None:
    body = "dx = (dy @ cache.W.T\nreturn dx"
    assert told("dense_input", body) == f"line {line_of_body('dense_input', 0)}: `dx = (dy @ cache.W.T`\n  " + (
        "not valid Python: '(' was never closed"
    )


def test_an_exception_names_its_line(told: Callable[[str, str], str]) -> None:
    said = told("dense_input", "W = cache.W\ndx = dy @ Wt\nreturn dx")
    assert said == f"line {line_of_body('dense_input', 1)}: `dx = dy @ Wt`\n  NameError: name 'Wt' is not defined"
    said = told("dense_input", "W = cache.W\ndx = dy @ W\nreturn dx")
    assert said.startswith(f"line {line_of_body('dense_input', 1)}: `dx = dy @ W`\n  TypeError: dot_general")


def test_a_question_comes_with_the_exceptions_that_everybody_meets(told: Callable[[str, str], str]) -> None:
    assert "`.T` reverses all axes" in told("dense_parameters", "return cache.x.T @ dy, dy.sum(axis=(0, 1))")
    assert "keepdims=True" in told("softmax", "p = cache.p\nreturn p * (dp - (dp * p).sum(axis=-1))")


def test_an_exception_while_the_file_is_read_names_its_line(judged: Callable[..., Outcome]) -> None:
    lines = judged("dense_input", "import jax\nfrom model import nothing_of_the_kind\n").lines
    assert lines[0] == "line 2: `from model import nothing_of_the_kind`"
    assert lines[1].startswith("  ImportError: ")
    assert "exit" in judged("dense_input", "import sys\nsys.exit('exit')\n").lines[1]


def test_a_missing_function_says_how_to_get_it_back(judged: Callable[..., Outcome]) -> None:
    assert judged("dense_input", "def forward(x, W, b):\n    return x\n").lines == (
        "the function `backward` is missing: python -m exercises reset dense_input restores the file",
    )


def test_a_wrong_shape_names_the_line_that_made_it(told: Callable[[str, str], str]) -> None:
    said = told("layer_norm", "dx = dy\ndgamma = dy * cache.xhat\ndbeta = dy.sum((0, 1))\nreturn dx, dgamma, dbeta")
    line = line_of_body("layer_norm", 1)
    assert f"dgamma: line {line}: an axis was not summed over: it has shape (2, 5, 12)" in said
    assert "dgamma has shape (2, 5, 12); asked for is (12,)" in said


def test_nan_names_the_line_where_it_first_appears(told: Callable[[str, str], str]) -> None:
    said = told("dense_input", "W = cache.W\nroot = jnp.sqrt(dy)\nroot = root * root\nreturn root @ W.T")
    assert f"dx: line {line_of_body('dense_input', 1)}: NaN or infinity first appears here, in root" in said


def test_a_missing_or_unreadable_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "dense_input.py"
    assert check(find_exercise("dense_input"), path).lines == (
        f"python -m exercises start dense_input copies it to {tmp_path}",
    )
    path.write_bytes(b"\xff")
    assert "is not UTF-8 text" in check(find_exercise("dense_input"), path).lines[0]


def test_watching_a_run_leaves_no_trace_behind() -> None:
    before = sys.gettrace()
    runner.run(lambda: 1, (), "", Path("x.py"))
    assert sys.gettrace() is before


# Shapes.


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_table_of_shapes_lists_what_is_given_and_asked_for(exercise) -> None:
    table = "\n".join(shapes(exercise))
    right = expected(exercise, 0)
    for name, value in right.items():
        assert any(line.split()[:3] == ["asked", "for", name] and line.endswith(str(value.shape))
                   for line in table.splitlines())  # fmt: skip
    assert table.count("\ngiven ") == len(flatten(exercise.arguments()))


def test_all_sizes_of_a_point_differ() -> None:
    sizes = find_exercise("attention").arguments()["q"].shape
    assert len(set(sizes)) == len(sizes)
    cut = solution_module("patch_embedding")
    assert len({cut.ROWS, cut.COLUMNS, cut.h, cut.w}) == 4
    assert not (find_exercise("layer_norm").arguments()["gamma"] == 1).any()
    assert find_exercise("layer_norm").arguments()["beta"].all()


# The faults.


def test_a_fault_is_one_line_of_the_file_that_the_answer_names() -> None:
    for name in ("fault_1", "fault_2", "fault_3"):
        mutant = faults.mutant_of(name)
        assert len(list(faults.lines_of(mutant))) == 1
        assert f"model/layers/{mutant.file.rpartition('/')[2]}" == mutant.file


@pytest.mark.parametrize("name", ["fault_1", "fault_2", "fault_3"])
def test_the_answer_to_a_fault_is_judged_by_file_and_line(name: str, tmp_path: Path) -> None:
    path, answer = tmp_path / f"{name}.py", load_answer(name)

    def says(returned: str) -> str:
        path.write_text(answer.stub.replace(TO_DO, f"    return {returned}\n"))
        outcome = faults.check_fault(name, path, experiment=False)
        assert outcome.state in ("passed", "wrong")
        return outcome.lines[0] if outcome.lines else "passed"

    mutant = faults.mutant_of(name)
    ((number, text),) = faults.lines_of(mutant)
    stem = Path(mutant.file).stem
    assert says(f"{stem!r}, {number}") == "passed"
    assert says(f"{stem + '.py'!r}, {text!r}") == "passed"
    assert "it is another line" in says(f"{stem!r}, {number + 1}")
    assert "it is another line" in says(f"{stem!r}, 'd'")
    assert "the fault is not in model/layers/softmax.py" in says("'softmax', 1")
    assert "there is no model/layers/soft.py" in says("'soft', 1")
    assert "must return (file, line)" in says("'softmax'")
    path.write_text(answer.source)
    assert faults.check_fault(name, path, experiment=False).state == "passed"
    path.write_text(answer.stub)
    assert faults.check_fault(name, path, experiment=False).state == "to do"


def test_the_experiment_runs_with_the_fault_in_place_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "fault_1.py"
    look = "print(check_layer(LayerNorm(12), (2, 5, 12)))"
    source = load_answer("fault_1").stub.replace("print(check_layer(Dense(12, 7), (2, 5, 12)))", look)
    path.write_text("from model.layers.layer_norm import LayerNorm\n" + source)
    outcome = faults.check_fault("fault_1", path)
    assert outcome.state == "to do"
    rows = [line.split() for line in outcome.lines[1:7]]
    assert [row[0] for row in rows] == ["0", "10", "20", "30", "40", "50"]
    assert all(row[1] != row[2] for row in rows[1:])
    assert any("x" in line and "WRONG" in line for line in outcome.lines)
    assert any("one term missing or extra" in line for line in outcome.lines)

    from model.layers.layer_norm import LayerNorm
    from verify import check_layer

    assert check_layer(LayerNorm(12), (2, 5, 12)).passed
