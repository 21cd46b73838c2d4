"""gradcheck.py as it is used: exit codes, files, and one line for bad input."""

import errno
import json
import os
import re
import shlex
import signal
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradcheck
from checks.cases import all_cases
from checks.commands import output
from checks.commands.options import command_line, parse_budget
from checks.commands.selection import is_selected
from checks.exhaustive_case import ExhaustiveCase
from checks.mutants import load_mutants, planted
from common.files import replace_text
from tests.conftest import Ended
from tests.tiny_runs import start_python
from verify.results import short

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
    assert re.search(r"^case +complex +differ\. +verdict\nsoftmax +\de-1\d +\de-1\d +pass$", ended.out, re.MULTILINE)
    assert "2 cases, 2 tensors, 756 coordinates: all pass" in ended.out
    assert "seed 3" in ended.out


def test_every_line_fits_80_columns_and_a_case_that_passes_is_one(call: Call) -> None:
    quiet = call(gradcheck.main, "--only", "class token attention", "--device", "cpu").out.splitlines()
    table = quiet[quiet.index(next(line for line in quiet if line.startswith("case "))) :]
    assert [line[-4:] for line in table[1:5]] == ["pass", "pass", "pass", ""]
    verbose = call(gradcheck.main, "--only", "class token attention", "--verbose", "--device", "cpu").out.splitlines()
    assert "  tensor                             shape complex differ. Taylor  verdict" in verbose
    keys = verbose.index(next(line for line in verbose if line.startswith("  qkv/b keys ")))
    assert verbose[keys].split()[2:] == ["12", "zero", "zero", verbose[keys].split()[-2], "pass"]
    assert re.fullmatch(r"    zero by theory, below \de-\d\d", verbose[keys + 1])
    assert max(map(len, quiet + verbose)) <= 80


@pytest.mark.parametrize("mistake", ["the outer factor p is left out", "dx has its sign flipped"])
def test_a_wrong_layer_ends_with_1_and_says_where_and_how_to_see_it_again(call: Call, mistake: str) -> None:
    mutant = next(m for m in load_mutants() if m.mistake == mistake and m.file.endswith("softmax.py"))
    with planted(mutant):
        from verify import programs

        programs.gradient_program.cache_clear()
        ended = call(gradcheck.main, "--only", "softmax", "--seed", "5", "--device", "cpu")
    programs.gradient_program.cache_clear()
    assert ended.code == 1
    assert re.search(r"^softmax .* WRONG$", ended.out, re.MULTILINE)
    assert "WRONG  softmax: x, shape (3, 2, 7, 9)" in ended.out
    assert re.search(r"complex step: worst at \(.*\):\s+analytic\s+\S+,\s+numeric\s+\S+\s+\+-\s+\S+", ended.out)
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "\033" not in ended.out, "colours are for a terminal"
    assert "Look first at Softmax." in ended.out
    assert "again: python gradcheck.py --only softmax --seed 5" in ended.out


def test_the_optimizer_is_checked_against_its_definition(call: Call) -> None:
    ended = call(gradcheck.main, "--only", "AdamW", "--device", "cpu")
    assert ended.code == 0
    assert "3 cases" in ended.out
    mutant = next(m for m in load_mutants() if m.mistake == "eps is inside the root")
    with planted(mutant):
        assert call(gradcheck.main, "--only", "AdamW", "--device", "cpu").code == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--only", "no such layer"), "no case has this in its name"),
        (("--only", "layernrm"), "--only layernrm: no case has this in its name; near to it: layer_norm"),
        (("--mutants", "--only", "sofmax.py"), "has this in its file or its mistake; near to it: softmax.py"),
        (("no_such_preset",), "no_such_preset"),
        (("demo", "baseline"), "baseline: a second preset after demo"),
        (("model.layers=2",), "name the preset that this overrides"),
        (("demo", "model.no_such=2"), "no_such"),
        (("--checkpoint", "no/such/run"), "no/such/run: there is no such folder"),
        (("demo", "--exhaustive", "--budget", "soon"), "write it like 90s, 10m or 2h30m"),
        (("demo", "--exhaustive", "--budget", "-5s"), "--budget -5s: write it like 90s"),
        (("demo", "--exhaustive", "--budget", ""), "--budget '': write it like 90s"),
        ((*SMALL, "--exhaustive", "--only", "no such layer"), "--only no such layer: no case has this in its name"),
        ((*SMALL, "--exhaustive", "--only", "GELU"), "have no parameters"),
        (("--mutants", "--only", "no such mistake"), "no mutant has this"),
    ],
)
def test_bad_input_is_one_line_and_2(call: Call, argv: tuple[str, ...], message: str) -> None:
    assert_refused(call(gradcheck.main, *argv), message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--exhaustive", "--exhaustive: name a PRESET"),
        ("--budget 10m", "--budget belongs to --exhaustive: add that"),
        ("--budget ''", "--budget belongs to --exhaustive: add that"),
        ("--state s.json", "--state belongs to --exhaustive: add that"),
        ("demo --exhaustive --state ''", "--state: name a file"),
        ("--checkpoint ''", "--checkpoint: name the folder of a run"),
        ("--json ''", "--json: name a file"),
        ("--html ''", "--html: name a file"),
        ("--json a --html a", "--json, --html and --state: name a file for each"),
        ("demo --exhaustive --state a --json a", "--json, --html and --state: name a file for each"),
        ("demo --mutants", "--mutants are planted at tiny shapes"),
        ("demo --float32", "--float32 goes with the check at tiny shapes"),
        ("--mutants --float32", "--float32 goes with the check at tiny shapes"),
        ("--precision --float32", "--float32 goes with the check at tiny shapes"),
        ("demo --precision --exhaustive", "--exhaustive and --precision are different checks: choose one"),
        ("--precision --mutants", "--mutants and --precision are different checks: choose one"),
        ("demo --exhaustive --mutants", "--exhaustive and --mutants are different checks: choose one"),
        ("--checkpoint r --mutants", "--mutants are planted at tiny shapes"),
        ("--mutants --verbose", "--verbose prints a line for each tensor"),
        ("--precision --verbose", "--verbose prints a line for each tensor"),
        ("--mutants --batch 2", "--batch belongs to a full-size check"),
        ("demo --budget 10m", "--budget belongs to --exhaustive: add that"),
        ("--precision --only head", "--precision compares whole gradients"),
        ("--batch 2", "--batch belongs to a full-size check"),
        ("--precision --batch 2", "--batch belongs to a full-size check"),
        ("--coordinates 2", "--coordinates belongs to a full-size check of a sample"),
        ("demo --exhaustive --coordinates 2", "--coordinates belongs to a full-size check of a sample"),
        ("demo --precision --coordinates 2", "--coordinates belongs to a full-size check of a sample"),
        ("demo --batch 0", "--batch and --coordinates: at least 1"),
        ("demo --coordinates -3", "--batch and --coordinates: at least 1"),
        ("--seed -1", "argument --seed: -1 is not from 0 to 4294967295"),
        ("--seed 4294967296", "argument --seed: 4294967296 is not from 0 to 4294967295"),
    ],
)
def test_arguments_that_would_have_no_effect_are_2(
    call: Call, capfd: pytest.CaptureFixture[str], argv: str, message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        call(gradcheck.main, *shlex.split(argv))
    assert error.value.code == 2
    assert message in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "argv",
    [
        "--only 'dense, images' --seed 3",
        "--float32",
        "--mutants --only gelu.py",
        "--precision",
        "demo model.layers=1 --coordinates 5",
        "demo --precision --batch 3",
        "--only dense --verbose",
        "demo --exhaustive --budget 2h --state s.json",
        "--checkpoint 'runs/a b'",
        "--only softmax --device cpu --json r.json --html 'a page.html' --debug",
    ],
)
def test_the_command_in_the_report_does_the_same_again(argv: str) -> None:
    args = gradcheck.parse_arguments(shlex.split(argv))
    again = shlex.split(command_line(args))
    assert again[:2] == ["python", "gradcheck.py"]
    assert gradcheck.parse_arguments(again[2:]) == args


def test_the_largest_seed_is_a_seed(call: Call) -> None:
    ended = call(
        gradcheck.main, *SMALL, "model.dropout=0.1", "--only", "head", "--seed", str(2**32 - 1), "--device", "cpu"
    )
    assert (ended.code, ended.err) == (0, ""), ended


@pytest.mark.parametrize(
    ("only", "cases"),
    [
        ("SoftMax", 2),
        ("adamw", 3),
        ("clip_by_global_norm", 3),  # the names of classes and functions, as in `Look first at`
        ("WarmupCosine", 1),
        ("PatchEmbedding: x", 0),
        ("patch_embedding, norms: x", 1),  # as in `WRONG  patch_embedding, norms: x`
    ],
)
def test_only_takes_the_names_that_the_report_prints_in_any_case(call: Call, only: str, cases: int) -> None:
    ended = call(gradcheck.main, "--only", only, "--device", "cpu")
    assert ended.code == (0 if cases else 2), ended
    assert not cases or re.search(rf"^{cases} cases?, ", ended.out, re.MULTILINE)


def test_what_is_to_be_looked_at_first_is_a_name_that_only_takes() -> None:
    cases = all_cases(0)
    for case in cases:
        assert case.name in [c.name for c in cases if is_selected(case.target, c.name, c.target)]
        assert is_selected(case.name.upper(), case.name)
        assert is_selected(f"{case.name}: x", case.name)
        assert is_selected(short(case.name, 20), case.name), "as in the table, where a long name is cut"
    chosen = [case.name for case in cases if is_selected("LayerNorm", case.name, case.target)]
    assert chosen == [case.name for case in cases if case.target == "LayerNorm"]
    assert not any(is_selected("GELU", case.name, case.target) for case in cases if case.target == "Dense")


@pytest.mark.parametrize(
    ("terminal", "environment", "red"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_wrong_is_red_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict, red: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: terminal, raising=False)
    output.show(["softmax  WRONG", "dense  pass"])
    wrong = "\033[1;31mWRONG\033[0m" if red else "WRONG"
    assert capsys.readouterr().out == f"softmax  {wrong}\ndense  pass\n"


def test_one_of_anything_is_told_as_one(call: Call) -> None:
    out = call(gradcheck.main, "--only", "gelu, tanh, far", "--device", "cpu").out
    assert re.search(r"^1 case, 1 tensor, \d+ coordinates: all pass", out, re.MULTILINE), out


def test_budgets() -> None:
    assert [parse_budget(text) for text in ("90s", "10m", "2h30m", "1h2m3s")] == [90, 600, 9000, 3723]


# Full size.


def test_a_preset_is_checked_layer_by_layer_and_end_to_end(call: Call, tmp_path: Path) -> None:
    ended = call(gradcheck.main, *SMALL, "--device", "cpu", "--json", "r.json", "--html", "r.html")
    assert (ended.code, ended.err) == (0, ""), ended
    compiled = "compiled: forward, loss and backward"
    for name in ("head (Dense)", "0/attention/attention (MultiHeadAttention)", "block_0 to the loss", compiled):
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
    ended = call(gradcheck.main, *arguments, "--budget", "0s", "--json", "r.json", "--html", "r.html")
    assert ended.code == 0, ended
    assert "the start took all of the budget" in ended.out
    assert re.search(r"^covered 64 of 1,\d+ coordinates \(3\.\d+%\), chosen at random$", ended.out, re.MULTILINE)
    found = re.search(
        r"coordinates: all pass so far; (\d+) of (\d+) tensors have not been reached yet; "
        r"(\d+) of (\d+) cases not at all",
        " ".join(ended.out.split()),
    )
    assert found, ended.out
    coverage = json.loads((tmp_path / "r.json").read_text())["coverage"]
    counts = [len(coverage["unreached"]), coverage["tensors"], len(coverage["unreached_cases"]), coverage["cases"]]
    assert [int(number) for number in found.groups()] == counts
    page = (tmp_path / "r.html").read_text()
    assert "<title>Gradient check: pass so far</title>" in page
    assert found.group() in page

    saved = json.loads((tmp_path / "state.json").read_text())
    assert saved["position"] == 1
    ended = call(gradcheck.main, *arguments)
    assert ended.code == 0, ended
    assert re.search(r"going on from state.json: 64 of [\d,]+ coordinates", ended.out)
    assert re.search(r"([\d,]+) coordinates, of each layer by itself and end to end: \1 forward passes", ended.out)
    assert re.search(r"about \d+:\d\d on this device", ended.out)
    assert "(100.000%), chosen at random" in ended.out
    assert "all pass. " in ended.out
    assert "so far" not in ended.out
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_asked_to_stop_an_exhaustive_check_saves_and_goes_on(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    arguments = (*SMALL, "--exhaustive", "--only", "head", "--state", "state.json", "--device", "cpu")
    count = ExhaustiveCase.count

    def interrupted(case: ExhaustiveCase, *measured: Any) -> None:
        os.kill(os.getpid(), number)
        count(case, *measured)

    with monkeypatch.context() as patched:
        patched.setattr(ExhaustiveCase, "count", interrupted)
        ended = call(gradcheck.main, *arguments)
    assert ended.code == code, ended
    assert "stopping: what has begun is computed, and the state is saved" in ended.err
    assert "go on with the same command: state.json" in ended.out
    assert json.loads((tmp_path / "state.json").read_text())["position"] == 1
    ended = call(gradcheck.main, *arguments)
    assert ended.code == 0, ended
    assert "going on from state.json: " in ended.out
    assert not (tmp_path / "state.json").exists()


def test_a_budget_counts_from_the_start_of_the_command(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that takes an hour, by the clock of this test, leaves nothing of half an hour."""
    now = time.perf_counter
    late = iter([now()])
    monkeypatch.setattr(gradcheck.time, "perf_counter", lambda: next(late, now() + 3600))
    ended = call(gradcheck.main, *SMALL, "--exhaustive", "--only", "head", "--budget", "30m", "--device", "cpu")
    assert "the start took all of the budget" in ended.out
    assert "covered 64 of" in ended.out


def test_without_a_name_the_state_is_kept_with_the_runs(call: Call, tmp_path: Path) -> None:
    arguments = ("data.root=a/b", *SMALL, "--exhaustive", "--budget", "0s", "--device", "cpu")
    for more in ((), ("--only", "head (Dense)")):  # neither takes up, nor refuses, what the other saved
        assert call(gradcheck.main, *arguments, *more).code == 0
    found = {path.name for path in (tmp_path / "runs").iterdir()}
    assert found == {"gradcheck-demo-seed0.json"}  # the head has less than a chunk, so that one is done
    ended = call(gradcheck.main, *SMALL, "--exhaustive", "--seed", "1", "--state", "runs/gradcheck-demo-seed0.json")
    assert_refused(ended, "of another check")


@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_while_it_starts_is_one_line_and_130(programs: Path, tmp_path: Path, resumed: bool) -> None:
    """However often it comes: threads that compile are not waited for, and do not make Python abort."""
    script = textwrap.dedent("""
        import os, signal, sys, threading, time
        import gradcheck
        from checks.commands import exhaustive
        from common.command import run_command

        def compiling(cases, seed, fingerprint):
            threading.Thread(target=time.sleep, args=(60,)).start()  # Python would wait for it at the end
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

        exhaustive.ExhaustiveCheck = compiling
        sys.exit(run_command(gradcheck.main))
    """)
    state = tmp_path / "state.json"
    if resumed:
        state.write_text("{}")
    arguments = (*SMALL, "--exhaustive", "--state", state, "--device", "cpu")
    with start_python("-c", script, *arguments, cache=programs, cwd=tmp_path) as process:
        _, err = process.communicate(timeout=50)
    kept = f"{state} stays as it is" if resumed else "there is nothing to save"
    assert (process.returncode, err) == (130, f"interrupted before the first coordinate: {kept}\n")


def test_at_trained_weights_and_real_images(call: Call, finished: Path) -> None:
    ended = call(gradcheck.main, "--checkpoint", finished, "--device", "cpu", "--only", "head")
    assert (ended.code, ended.err) == (0, ""), ended
    loaded = rf"^{finished}/best.npz \(step 12, raw parameters\) on images \d+, \d+ of 36 validation images$"
    assert re.search(loaded, ended.out, re.MULTILINE)
    assert "head (Dense)" in ended.out
    ended = call(gradcheck.main, "--checkpoint", finished, "--device", "cpu", "--batch", "37")
    assert_refused(ended, "--batch 37: there are 36 validation images")


def test_precision_alone(call: Call, tmp_path: Path) -> None:
    ended = call(gradcheck.main, "--precision", "--device", "cpu", "--html", "p.html", "--json", "p.json")
    assert ended.code == 0
    assert re.search(r"qkv/b keys|qkv/b ", ended.out)
    assert "all parameters" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    out = " ".join(ended.out.split())
    found = re.search(r"\d+ gradients, error of all parameters against float64: float32 \d\.\de-0\d", out)
    assert found, ended.out
    page = (tmp_path / "p.html").read_text()
    assert found.group() in page
    assert "Every tensor" not in page
    assert page.count("<tr>") == len(json.loads((tmp_path / "p.json").read_text())["precision"]) + 1


def test_float32_is_possible_when_asked_for(call: Call) -> None:
    ended = call(gradcheck.main, "--float32", "--only", "dense, images", "--device", "cpu")
    assert ended.code == 0, ended
    assert "float32" in ended.out
    assert re.search(r"^dense, images +\de-0[678]", ended.out, re.MULTILINE)


def test_mutants_are_planted_and_caught(call: Call, tmp_path: Path) -> None:
    ended = call(gradcheck.main, "--mutants", "--only", "pooling.py", "--html", "m.html", "--json", "m.json")
    assert (ended.code, ended.err) == (0, ""), ended
    assert "6 of 6 mutants caught, 0 survived" in ended.out
    assert "caught    pooling.py: the mean's 1/n is left out" in ended.out
    assert "by complex step, differences" in ended.out
    assert "6 of 6 planted mistakes caught" in (tmp_path / "m.html").read_text()
    assert all(mutant["caught"] for mutant in json.loads((tmp_path / "m.json").read_text())["mutants"])


# Files.


@pytest.mark.parametrize("option", ["--json", "--html", "--state"])
def test_a_file_that_cannot_be_written_is_refused_before_the_check(call: Call, tmp_path: Path, option: str) -> None:
    arguments = (*SMALL, "--exhaustive") if option == "--state" else ("--only", "softmax")
    (tmp_path / "folder").mkdir()
    for path, why in (
        ("none/r.json", "there is no folder none; make it first"),
        ("folder", "this is a folder; name a file"),
        ("/dev/null", "this is a device; name a file"),
        ("/proc/r.json", "it cannot be written: "),
        ("x" * 300, "it cannot be written: File name too long"),
    ):
        ended = call(gradcheck.main, *arguments, option, path)
        assert_refused(ended, f"^error: {option} {path}: {why}")
        assert ended.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_before_the_check(call: Call, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    ended = call(gradcheck.main, "--only", "softmax", "--json", "closed/r.json")
    assert_refused(ended, "--json closed/r.json: it cannot be written: Permission denied")


def test_what_is_there_stays_until_the_check_is_over(call: Call, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("before")
    assert call(gradcheck.main, "--only", "no such layer", "--json", "r.json").code == 2
    assert (tmp_path / "r.json").read_text() == "before"


def test_one_file_that_fails_does_not_take_the_other_with_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        replace_text(path, text)

    monkeypatch.setattr(output, "replace_text", full)
    ended = call(gradcheck.main, "--only", "softmax", "--json", "r.json", "--html", "r.html", "--device", "cpu")
    assert (ended.code, ended.err) == (2, "error: --json r.json: not written: No space left on device\n")
    assert "report  r.html" in ended.out
    assert "softmax" in (tmp_path / "r.html").read_text()
