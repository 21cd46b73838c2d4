"""gradcheck.py as it is used: exit codes, files, and one line for bad input."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import gradcheck
from tests.conftest import Ended
from verify.mutants import load_mutants, planted

pytestmark = pytest.mark.usefixtures("float64")

Call = Callable[..., Ended]

# A preset at a size at which the full-size checks take seconds.
SMALL = (
    "demo", "model.image_size=8", "model.patch_size=4", "model.d_model=8", "model.heads=2", "model.layers=1",
    "model.mlp_dim=6", "model.num_classes=3",
)  # fmt: skip


def assert_refused(ended: Ended, message: str) -> None:
    assert ended.code == 2, ended
    assert re.search(message, ended.err), ended.err
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")


# Exit codes.


def test_a_right_layer_ends_with_0(call: Call) -> None:
    ended = call(gradcheck.main, "--only", "softmax", "--seed", "3", "--device", "cpu")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"^  x +3 x 2 x 7 x 9 +\de-1\d +\de-1\d +2\.00 +\(.*\) +pass$", ended.out, re.MULTILINE)
    assert "1 cases, 1 tensors, 378 coordinates: all pass" in ended.out
    assert "seed 3" in ended.out


@pytest.mark.parametrize("mistake", ["the outer factor p is left out", "dx has its sign flipped"])
def test_a_wrong_layer_ends_with_1_and_says_where_and_how_to_see_it_again(call: Call, mistake: str) -> None:
    mutant = next(m for m in load_mutants() if m.mistake == mistake and m.file.endswith("softmax.py"))
    with planted(mutant):
        from verify import probe

        probe._gradient_program.cache_clear()
        ended = call(gradcheck.main, "--only", "softmax", "--seed", "5", "--device", "cpu")
    probe._gradient_program.cache_clear()
    assert ended.code == 1
    assert re.search(r"x .* WRONG$", ended.out, re.MULTILINE)
    assert "WRONG  softmax: x, shape (3, 2, 7, 9)" in ended.out
    assert re.search(r"complex step: worst at \(.*\): analytic \S+, numeric \S+ \+- \S+", ended.out)
    assert "Look first at Softmax." in ended.out
    assert "again: python gradcheck.py --only softmax --seed 5" in ended.out


def test_the_optimizer_is_checked_against_its_definition(call: Call) -> None:
    ended = call(gradcheck.main, "--only", "AdamW", "--device", "cpu")
    assert ended.code == 0
    assert "2 cases" in ended.out
    mutant = next(m for m in load_mutants() if m.mistake == "eps is inside the root")
    with planted(mutant):
        assert call(gradcheck.main, "--only", "AdamW", "--device", "cpu").code == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--only", "no such layer"), "no case has this in its name"),
        (("no_such_preset",), "no_such_preset"),
        (("demo", "baseline"), "baseline: a second preset after demo"),
        (("model.layers=2",), "name the preset that this overrides"),
        (("demo", "model.no_such=2"), "no_such"),
        (("--checkpoint", "no/such/run"), "no/such/run: there is no such folder"),
        (("demo", "--exhaustive", "--budget", "soon"), "write it like 90s, 10m or 2h30m"),
        (("--mutants", "--only", "no such mistake"), "no mutant has this"),
    ],
)
def test_bad_input_is_one_line_and_2(call: Call, argv: tuple[str, ...], message: str) -> None:
    assert_refused(call(gradcheck.main, *argv), message)


@pytest.mark.parametrize(
    "argv",
    [
        ("--exhaustive",), ("--budget", "10m"), ("demo", "--mutants"), ("demo", "--float32"), ("--seed", "-1"),
        ("demo", "--batch", "0"), ("--no-such-option",),
    ],
)  # fmt: skip
def test_arguments_that_do_not_go_together_are_2(call: Call, argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as error:
        call(gradcheck.main, *argv)
    assert error.value.code == 2


def test_budgets() -> None:
    assert [gradcheck.parse_budget(text) for text in ("90s", "10m", "2h30m", "1h2m3s")] == [90, 600, 9000, 3723]


# Full size.


def test_a_preset_is_checked_layer_by_layer_and_end_to_end(call: Call, tmp_path: Path) -> None:
    ended = call(gradcheck.main, *SMALL, "--device", "cpu", "--json", "r.json", "--html", "r.html")
    assert (ended.code, ended.err) == (0, ""), ended
    for name in ("head (Dense)", "encoder/block_0/attention/attention (MultiHeadAttention)", "block_0 to the loss"):
        assert name in ended.out
    assert re.search(r"all parameters +\S+ +\d\.\de-0[67]", ended.out), "float32 against float64"
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["verdict"], report["seed"]) == ("pass", 0)
    assert report["command"].startswith("python gradcheck.py demo model.image_size=8")
    tensors = [tensor for case in report["cases"] for tensor in case["tensors"]]
    assert {tensor["verdict"] for tensor in tensors} == {"pass"}
    assert any(tensor["curve"] for tensor in tensors)
    assert {"float32", "bfloat16"} == report["precision"][0]["errors"].keys()
    page = (tmp_path / "r.html").read_text()
    assert page.count("<polyline") > 10
    assert not re.search(r"(?:src|href)=", page), "the page needs nothing else"


def test_exhaustively_with_a_budget_and_on(call: Call, tmp_path: Path) -> None:
    arguments = (*SMALL, "--exhaustive", "--state", "state.json", "--device", "cpu")
    ended = call(gradcheck.main, *arguments, "--budget", "0s")
    assert "covered 0 of" in ended.out
    assert ended.code == 2, "nothing checked"
    assert (tmp_path / "state.json").exists()
    ended = call(gradcheck.main, *arguments)
    assert ended.code == 0, ended
    assert re.search(r"going on from state.json: 0 of [\d,]+ coordinates", ended.out)
    assert re.search(r"([\d,]+) coordinates, of each layer by itself and end to end: \1 forward passes", ended.out)
    assert re.search(r"about \d+:\d\d on this device", ended.out)
    assert "(100.000%), chosen at random" in ended.out
    assert not (tmp_path / "state.json").exists()


def test_at_trained_weights_and_real_images(call: Call, finished: Path) -> None:
    ended = call(gradcheck.main, "--checkpoint", finished, "--device", "cpu", "--only", "head")
    assert (ended.code, ended.err) == (0, ""), ended
    assert re.search(rf"^{finished}/best.npz on validation images \d+, \d+$", ended.out, re.MULTILINE)
    assert "head (Dense)" in ended.out


def test_precision_alone(call: Call) -> None:
    ended = call(gradcheck.main, "--precision", "--device", "cpu")
    assert ended.code == 0
    assert re.search(r"qkv/b keys|qkv/b ", ended.out)
    assert "all parameters" in ended.out


def test_float32_is_possible_when_asked_for(call: Call) -> None:
    ended = call(gradcheck.main, "--float32", "--only", "dense, images", "--device", "cpu")
    assert ended.code == 0, ended
    assert "float32" in ended.out
    assert re.search(r"W .*\de-0[678]", ended.out)


def test_mutants_are_planted_and_caught(call: Call, tmp_path: Path) -> None:
    ended = call(gradcheck.main, "--mutants", "--only", "pooling.py", "--html", "m.html", "--json", "m.json")
    assert (ended.code, ended.err) == (0, ""), ended
    assert "6 of 6 mutants caught, 0 survived" in ended.out
    assert "caught    pooling.py: the mean's 1/n is left out" in ended.out
    assert "by complex step, differences" in ended.out
    assert "6 of 6 planted mistakes caught" in (tmp_path / "m.html").read_text()
    assert all(mutant["caught"] for mutant in json.loads((tmp_path / "m.json").read_text())["mutants"])
