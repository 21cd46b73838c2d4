"""`python -m exercises` and the last exercise, in a folder of the test: the reader's own files are never touched."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from exercises import __main__ as command
from exercises.machinery import vit_exercise
from exercises.machinery.answers import load_answer
from exercises.machinery.catalogue import find_exercise
from exercises.machinery.checking import check
from exercises.machinery.items import ITEMS
from exercises.machinery.workspace import FOLDER, STUBS
from tests.conftest import Ended

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every exercise as a new reader finds it."""
    return filled(tmp_path / "mine")


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """The tracked files, in a copy."""
    return filled(tmp_path / "exercises")


def filled(folder: Path) -> Path:
    folder.mkdir()
    for name in ITEMS:
        (folder / f"{name}.py").write_text(load_answer(name).stub, encoding="utf-8")
    return folder


@pytest.fixture
def do(folder: Path, stubs: Path, call: Callable[..., Ended]) -> Callable[..., Ended]:
    """`do("check", "softmax")`, in that folder."""
    return partial(call, partial(command.main, folder=folder, stubs=stubs))


def solve(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(load_answer(name).source, encoding="utf-8")


def test_the_list_shows_what_is_done(folder: Path, do: Callable[..., Ended]) -> None:
    before = do("list").out.splitlines()
    assert before[-1] == f"0 of {len(ITEMS)}"
    assert [line.split()[1] for line in before[1:-1]] == list(ITEMS)
    solve(folder, "dropout")
    do("check", "dropout")
    after = do("list").out.splitlines()
    assert after[-1] == f"1 of {len(ITEMS)}"
    assert [line.split()[2] for line in after if line.startswith("x ")] == ["dropout"]


def test_the_list_is_in_book_order_with_chapter_level_and_minutes_in_80_columns(do: Callable[..., Ended]) -> None:
    lines = do("list").out.splitlines()
    assert lines[0].split() == ["ch", "exercise", "level", "time"]
    chapters = [int(line.split()[0]) for line in lines[1:-1]]
    assert chapters == sorted(chapters)
    assert "   7  layer_norm            3   60 min  Layer normalization" in lines
    assert max(map(len, lines)) <= 80


def test_success_brings_the_explanation_and_opens_the_solution(folder: Path, do: Callable[..., Ended]) -> None:
    refused = do("solution", "dropout")
    assert refused.code == 2
    assert "error: dropout is not done: python -m exercises check dropout must pass first" in refused.err
    solve(folder, "dropout")
    passed = do("check", "dropout")
    assert passed.code == 0
    assert passed.out.startswith("dropout: passed\n")
    assert load_answer("dropout").explanation in passed.out
    assert "dx = dy * cache.mask" not in passed.out
    shown = do("solution", "dropout")
    assert shown.code == 0
    assert "dx = dy * cache.mask / (1 - RATE)" in shown.out


def test_what_fails_again_is_no_longer_done(folder: Path, do: Callable[..., Ended]) -> None:
    solve(folder, "dropout")
    do("check", "dropout")
    wrong = load_answer("dropout").mistakes[0]
    (folder / "dropout.py").write_text(wrong.source)
    failed = do("check", "dropout")
    assert failed.code == 1
    assert failed.out.startswith(f"dropout: wrong\n  dx: {wrong.question}\n")
    assert "true value" not in failed.out
    assert "true value" in do("check", "dropout", "--reveal").out
    assert do("list").out.endswith(f"0 of {len(ITEMS)}\n")


def test_an_empty_exercise_is_to_do_and_no_success(do: Callable[..., Ended]) -> None:
    ended = do("check", "softmax")
    assert ended.code == 1
    assert ended.out.startswith("softmax: to do\n")


def test_check_without_a_name_checks_all_and_only_mistakes_are_failures(
    folder: Path, do: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ("dropout", "clipping", "fault_1")
    monkeypatch.setattr(command, "ITEMS", {name: ITEMS[name] for name in some})
    solve(folder, "clipping")
    ended = do("check")
    assert ended.code == 0
    assert ended.out == "dropout: to do\nclipping: passed\nfault_1: to do\n1 of 3\n"
    (folder / "dropout.py").write_text(load_answer("dropout").mistakes[0].source)
    ended = do("check")
    assert ended.code == 1
    assert "dropout: wrong\n  dx: The factor 1 / (1 - RATE) is missing" in ended.out


# For grading.


def graded(ended: Ended) -> dict[str, Any]:
    """Standard output, all of which is one JSON document: the exercises by name."""
    return {exercise["name"]: exercise for exercise in json.loads(ended.out)["exercises"]}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four exercises, so that checking all of them is quick."""
    some = ("dropout", "layer_scale", "clipping", "fault_1")
    monkeypatch.setattr(command, "ITEMS", {name: ITEMS[name] for name in some})


@pytest.mark.usefixtures("few")
def test_results_as_json_have_a_verdict_on_every_part(folder: Path, do: Callable[..., Ended], tmp_path: Path) -> None:
    theirs = tmp_path / "submissions" / "ada"
    theirs.mkdir(parents=True)
    solve(theirs, "clipping")
    right = load_answer("layer_scale").source
    (theirs / "layer_scale.py").write_text(right.replace("(dy * branch).sum(", "(dy * branch).mean("))
    (theirs / "fault_1.py").write_text(load_answer("fault_1").source.replace("dx = rstd", "mean ="))
    before = sorted(theirs.iterdir())
    ended = do("check", "--json", "--folder", str(theirs))
    document, exercises = json.loads(ended.out), graded(ended)
    assert ended.code == 1
    assert (document["folder"], document["passed"], document["of"]) == (str(theirs), 1, 4)
    assert list(exercises) == ["dropout", "layer_scale", "clipping", "fault_1"]
    assert exercises["clipping"] == {
        "name": "clipping", "chapter": ITEMS["clipping"].place.chapter, "level": 1, "minutes": 15, "state": "passed",
        "parts": {"clipped/W": True, "clipped/b": True}, "checkpoints": {}, "first_failure": None, "messages": [],
        "autodiff": [],
    }  # fmt: skip
    wrong = exercises["layer_scale"]
    assert wrong["state"] == "wrong"
    assert wrong["parts"] == {"dx": True, "dbranch": True, "dgamma": False}
    assert wrong["first_failure"].startswith("dgamma: ")
    assert wrong["messages"][0] == wrong["first_failure"]
    assert exercises["dropout"]["state"] == "to do"
    assert exercises["dropout"]["parts"] == {"dx": False}
    assert "start dropout" in exercises["dropout"]["first_failure"]
    assert exercises["fault_1"]["parts"] == {"file": True, "line": False}
    assert sorted(theirs.iterdir()) == before, "nothing is written into a folder that is graded"
    assert do("list").out.endswith("0 of 4\n")


@pytest.mark.usefixtures("few")
def test_what_a_checked_file_prints_is_no_part_of_the_document(folder: Path, do: Callable[..., Ended]) -> None:
    answer = load_answer("dropout").source
    head = "import sys\nprint('loaded')\nsys.stdout.write('written')\n"
    (folder / "dropout.py").write_text(head + answer.replace("    return dx", "    print('called')\n    return dx"))
    ended = do("check", "dropout", "--json")
    assert ended.code == 0
    assert list(graded(ended)) == ["dropout"]
    assert all(word in ended.err for word in ("loaded", "written", "called"))


@pytest.mark.usefixtures("few")
def test_exit_codes_are_those_without_json(folder: Path, do: Callable[..., Ended]) -> None:
    assert do("check", "--json").code == do("check").code == 0  # nothing is wrong
    assert do("check", "dropout", "--json").code == do("check", "dropout").code == 1  # one was asked for, and is to do
    (folder / "dropout.py").write_text("raise SystemExit")
    assert do("check", "--json").code == do("check").code == 1
    shutil.rmtree(folder)
    assert do("check", "--json").code == do("check").code == 0  # nothing is begun
    refused = do("check", "--json", "--folder", str(folder / "none"))
    assert (refused.code, refused.out) == (2, "")
    assert "there is no folder" in refused.err
    assert "give --json too" in do("check", "--folder", str(folder)).err
    assert do("check", "drop", "--json").out == ""


def test_a_gradient_that_jax_has_computed_is_told(folder: Path, do: Callable[..., Ended]) -> None:
    head, _, body = load_answer("dropout").source.partition("def backward")
    (folder / "dropout.py").write_text(
        f"{head}import jax as J\nfrom jax import jvp, tree\n\n\ndef backward{body}\n# jax.grad\n"
        "used = J.vjp, jvp, tree.map\n"
    )
    assert graded(do("check", "dropout", "--json"))["dropout"]["autodiff"] == ["jax.jvp", "jax.vjp"]
    (folder / "dropout.py").write_text("(")
    broken = graded(do("check", "dropout", "--json"))["dropout"]
    assert (broken["state"], broken["autodiff"]) == ("wrong", [])
    (folder / "fault_1.py").write_text("import jax\nused = jax.vjp\n")  # what a fault is found with is free
    assert graded(do("check", "fault_1", "--json"))["fault_1"]["autodiff"] == []


def test_a_file_that_cannot_be_read_is_wrong_and_the_others_have_results(
    folder: Path, do: Callable[..., Ended]
) -> None:
    (folder / "dropout.py").unlink(missing_ok=True)
    (folder / "dropout.py").mkdir()
    result = graded(do("check", "dropout", "--json"))["dropout"]
    assert result["state"] == "wrong"
    assert result["first_failure"].endswith("cannot be read: Is a directory")


def test_hints_come_one_at_a_time_and_are_remembered(do: Callable[..., Ended]) -> None:
    hints = load_answer("softmax").hints
    for number in (1, 2, 3, 3):
        out = do("hint", "softmax").out
        assert out.startswith(f"hint {number} of 3\n")
        assert hints[number - 1] in out
    assert do("hint", "dropout").out.startswith("hint 1 of 3\n")


def test_reset_keeps_what_was_written(folder: Path, do: Callable[..., Ended]) -> None:
    path = folder / "dropout.py"
    assert do("reset", "dropout").out == f"{path} is unchanged\n"
    for number in (1, 2):
        path.write_text(f"mine {number}")
        assert f"your version is kept in {folder / f'dropout.{number}.bak'}" in do("reset", "dropout").out
        assert path.read_text() == load_answer("dropout").stub
    assert [(folder / f"dropout.{number}.bak").read_text() for number in (1, 2)] == ["mine 1", "mine 2"]
    path.unlink()
    do("reset", "dropout")
    assert path.exists()


def test_reset_takes_a_success_back(folder: Path, do: Callable[..., Ended]) -> None:
    solve(folder, "dropout")
    do("check", "dropout")
    do("reset", "dropout")
    assert do("list").out.endswith(f"0 of {len(ITEMS)}\n")


# The folder that the reader writes in.


def test_start_copies_what_is_missing_and_keeps_what_is_there(folder: Path, do: Callable[..., Ended]) -> None:
    shutil.rmtree(folder)
    ended = do("check", "dropout")
    assert (ended.code, ended.out) == (
        1, f"dropout: to do\n  python -m exercises start dropout copies it to {folder}\n"
    )  # fmt: skip
    assert do("check", "fault_1").out == do("check", "dropout").out.replace("dropout", "fault_1")
    assert do("check", "vit").out == do("check", "dropout").out.replace("dropout", "vit")
    assert do("start", "dropout").out == f"{folder / 'dropout.py'} is yours to write in\n"
    (folder / "dropout.py").write_text("mine")
    assert f"{folder / 'dropout.py'} is there already\n" in do("start").out
    assert (folder / "dropout.py").read_text() == "mine"
    assert {path.stem for path in folder.glob("*.py")} == set(ITEMS)
    assert (folder / "softmax.py").read_text() == load_answer("softmax").stub


def test_a_hint_may_come_before_the_first_start(folder: Path, do: Callable[..., Ended]) -> None:
    shutil.rmtree(folder)
    assert do("hint", "dropout").out.startswith("hint 1 of 3\n")
    assert do("hint", "dropout").out.startswith("hint 2 of 3\n")


def test_the_command_alone_lists_the_exercises(do: Callable[..., Ended]) -> None:
    assert do() == do("list")
    assert do().code == 0


def test_work_in_the_tracked_files_is_led_over_and_not_lost(
    folder: Path, stubs: Path, do: Callable[..., Ended]
) -> None:
    shutil.rmtree(folder)
    assert do("list").err == ""
    (stubs / "dropout.py").write_bytes(b"mine \xff")  # not even text
    (stubs / "softmax.py").write_text("mine too")
    (stubs / "clipping.py").write_bytes(load_answer("clipping").stub.replace("\n", "\r\n").encode())  # Windows: no work
    (stubs / "softmax.1.bak").write_text("older")
    (stubs / ".progress.json").write_text('{"passed": ["softmax"], "hints": {}}')
    told = do("list").err
    assert told.startswith(f"note: softmax.py and others in {stubs} hold work of yours")
    assert told.count("\n") == 1
    assert "python -m exercises start moves it there" in told
    assert (stubs / "dropout.py").read_bytes() == b"mine \xff"

    ended = do("start", "dropout")
    assert ended.err == ""
    assert f"your dropout.py is now in {folder / 'dropout.py'}\n" in ended.out
    assert (folder / "dropout.py").read_bytes() == b"mine \xff"
    assert (folder / "softmax.py").read_text() == "mine too"
    assert (folder / "softmax.1.bak").read_text() == "older"
    assert not (folder / "clipping.py").exists()
    assert do("list").out.endswith(f"1 of {len(ITEMS)}\n")
    assert do("list").err == ""
    for name in ("dropout", "softmax"):
        assert (stubs / f"{name}.py").read_text() == load_answer(name).stub
    assert sorted(path.suffix for path in stubs.iterdir()) == [".py"] * len(ITEMS)


def test_work_in_both_places_is_kept_twice(folder: Path, stubs: Path, do: Callable[..., Ended]) -> None:
    (folder / "dropout.py").write_text("new")
    (folder / "dropout.1.bak").write_text("older")
    (stubs / "dropout.py").write_text("old")
    assert f"your dropout.py is now in {folder / 'dropout.2.bak'}\n" in do("start", "dropout").out
    assert [(folder / f"dropout.{end}").read_text() for end in ("py", "1.bak", "2.bak")] == ["new", "older", "old"]


def test_nobody_tracks_the_readers_folder() -> None:
    ignored = (STUBS.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert f"/{FOLDER.name}/" in ignored
    assert FOLDER.parent == STUBS.parent


# What is asked for.


def test_sizes_are_those_that_the_exercise_uses(do: Callable[..., Ended]) -> None:
    def sizes(name: str) -> str:
        return do("shapes", name).out.splitlines()[0].partition("Sizes: ")[2]

    assert sizes("layer_norm") == "B=2, N=5, D=12"
    assert sizes("attention") == "B=2, N=5, HEADS=3, K=4"
    assert sizes("split_heads") == "B=2, N=5, D=12, HEADS=3, K=4"
    assert sizes("patch_embedding") == "B=2, D=12"
    assert sizes("schedule") == ""


def test_shapes_of_every_kind(do: Callable[..., Ended]) -> None:
    assert "asked for  dgamma       (12,)\n" in do("shapes", "layer_norm").out
    assert "backward(cache, dy) -> dx, dgamma, dbeta" in do("shapes", "layer_norm").out
    assert "update(theta, g, m, v, t) -> theta, m, v" in do("shapes", "adamw").out
    assert "multi_head_attention" in do("shapes", "fault_1").out
    assert "params/tokens/positions" in do("shapes", "vit").out


def test_a_misspelt_name_is_met_with_the_nearest(do: Callable[..., Ended]) -> None:
    ended = do("check", "layernorm")
    assert (ended.code, ended.err) == (2, "error: there is no exercise layernorm: did you mean layer_norm?\n")
    assert "see python -m exercises list" in do("hint", "zzz").err


@pytest.mark.parametrize("arguments", [("check", "--reveal"), ("check", "fault_1", "--reveal")])
def test_reveal_is_refused_where_there_is_nothing_to_reveal(do: Callable[..., Ended], arguments: tuple) -> None:
    ended = do(*arguments)
    assert ended.code == 2
    assert "--reveal shows the true value of a wrong gradient" in ended.err


def test_damaged_progress_says_what_to_do(folder: Path, do: Callable[..., Ended]) -> None:
    for text in ("{", "[]", '{"passed": 1, "hints": {}}', json.dumps({"passed": [], "hints": {"a": "b"}})):
        (folder / ".progress.json").write_text(text)
        ended = do("list")
        assert ended.code == 2
        assert "is damaged: delete it" in ended.err


def test_watch_checks_the_file_that_was_saved_and_no_other(
    folder: Path, do: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = iter(["", "dropout", "", "clipping"])

    def sleep(seconds: float) -> None:
        name = next(saves)
        if name:
            solve(folder, name)

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr(command, "watch", partial(command.watch, rounds=4))
    out = do("watch").out
    assert out.count("dropout: passed") == out.count("clipping: passed") == 1
    assert out.count("passed") == 2
    assert f"2 of {len(ITEMS)}" in out


# The last exercise.


def test_the_whole_asks_for_the_layers_that_it_is_made_of(folder: Path) -> None:
    solve(folder, *vit_exercise.NEEDED, "vit")
    (folder / "layer_norm.py").write_text(load_answer("layer_norm").mistakes[0].source)
    (folder / "clipping.py").write_text(load_answer("clipping").stub)
    outcome = vit_exercise.check_vit(folder / "vit.py")
    assert outcome.state == "to do"
    assert outcome.lines[0].endswith("must pass first: layer_norm, clipping")


def test_the_whole_follows_the_loss_of_the_model(folder: Path) -> None:
    solve(folder, *vit_exercise.NEEDED)
    empty = vit_exercise.check_vit(folder / "vit.py")
    assert "still empty" in empty.lines[0]
    assert empty.parts == {"layers": True, "gradients": False, "losses": False}
    solve(folder, "vit")
    outcome = vit_exercise.check_vit(folder / "vit.py")
    assert outcome.state == "passed"
    assert outcome.lines[0].startswith(f"{vit_exercise.STEPS} steps, loss ")
    assert outcome.parts == {"layers": True, "gradients": True, "losses": True}
    first, *_, last = vit_exercise.reference_losses()
    assert last < 0.5 * first


def test_the_mistakes_in_the_whole_are_answered_with_their_questions(folder: Path) -> None:
    solve(folder, *vit_exercise.NEEDED)
    for mistake in load_answer("vit").mistakes:
        (folder / "vit.py").write_text(mistake.source)
        outcome = vit_exercise.check_vit(folder / "vit.py", reveal=True)
        assert outcome.state == "wrong"
        assert outcome.lines[0] == mistake.question
        assert "the true value is" in outcome.lines[2]


def test_a_run_that_leaves_the_reference_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solve(folder, *vit_exercise.NEEDED, "vit")
    reference = vit_exercise.reference_losses().copy()
    reference[7] *= 1 + 2e-6
    monkeypatch.setattr(vit_exercise, "reference_losses", lambda: reference)
    outcome = vit_exercise.check_vit(folder / "vit.py")
    assert outcome.state == "wrong"
    assert "the loss differs from the reference from step 7" in outcome.lines[0]
    assert outcome.parts == {"layers": True, "gradients": True, "losses": False}


def test_a_layer_that_fails_at_other_shapes_is_named_with_its_line(folder: Path) -> None:
    solve(folder, *vit_exercise.NEEDED, "vit")
    path = folder / "adamw.py"
    head, line = path.read_text().split("    m = BETA1", 1)[0], "    assert theta.shape == (12, 7), theta.shape\n"
    path.write_text(head + line + "    m = BETA1" + path.read_text().split("    m = BETA1", 1)[1])
    assert check(find_exercise("adamw"), path).state == "passed"
    outcome = vit_exercise.check_vit(folder / "vit.py")
    assert outcome.state == "wrong"
    assert outcome.lines[0].startswith(f"adamw.py, line {head.count(chr(10)) + 1}: AssertionError")
