"""evaluate.py as it is used: its figures agree with each other and with the training's, and bad input is one line."""

import csv
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evaluate
from common.errors import UserError
from common.streams import OUTPUT
from tests.conftest import Ended
from tests.tiny_data import NAMES, WNIDS, write_data_set
from tests.tiny_runs import ROOT, start_python
from training import checkpoint
from training.run_folder import RunFolder

Call = Callable[..., Ended]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def read(path: Path) -> dict[str, Any]:
    """The report, which must be JSON to the letter."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def assert_refused(ended: Ended, message: str) -> None:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert re.search(message, ended.err), ended.err
    assert ended.err.startswith("error: ")


def test_the_file_is_written_though_nobody_reads_the_output_and_names_do_not_control_the_terminal(
    call: Call, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = json.loads((copy / "classes.json").read_text())
    classes["names"] = [f"\x1b[2J{name} Größe" for name in classes["names"]]
    (copy / "classes.json").write_text(json.dumps(classes))
    shown = call(evaluate.main, copy, "--json", "report.json", "--device", "cpu")
    assert r"\x1b[2J" in shown.out
    assert "\x1b" not in shown.out

    def leave(report: object) -> str:
        raise BrokenPipeError(32, "Broken pipe", OUTPUT)  # as print does in `evaluate.py | head`

    (tmp_path / "report.json").unlink()
    monkeypatch.setattr(evaluate, "format_report", leave)
    assert call(evaluate.main, copy, "--json", "report.json", "--device", "cpu").code == 141
    assert read(tmp_path / "report.json")["per_class"][0]["name"].endswith(" Größe")


# Figures.


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_figures_are_those_of_the_training(call: Call, finished: Path, tmp_path: Path, which: str) -> None:
    ended = call(evaluate.main, finished, "--checkpoint", which, "--json", "report.json", "--device", "cpu")
    assert (ended.code, ended.err) == (0, "")
    rows = RunFolder(finished).read_metrics()
    row = rows[-1] if which == "last" else max(rows, key=lambda row: (row.val_top1, -row.step))
    report = read(tmp_path / "report.json")
    assert (report["images"], report["step"], report["checkpoint"]) == (36, row.step, f"{which}.npz")
    assert report["run"] == str(finished)
    for name, value in (("loss", row.val_loss), ("top1", row.val_top1), ("top5", row.val_top5)):
        assert report[name] == pytest.approx(value, rel=1e-5)
    assert f"{finished}/{which}.npz (step {row.step}, raw parameters)\non 36 validation images, cpu" in ended.out
    assert re.search(rf"^loss +{report['loss']:.4f}$", ended.out, re.MULTILINE)
    assert re.search(rf"^top-1 +{report['top1']:.2%} +\(chance 8.33%\)$", ended.out, re.MULTILINE)
    assert "balanced" not in ended.out
    assert re.search(rf"^top-5 +{report['top5']:.2%}$", ended.out, re.MULTILINE)


def test_classes_and_confusions_add_up_to_the_overall_figures(call: Call, finished: Path, tmp_path: Path) -> None:
    call(evaluate.main, finished, "--json", "report.json", "--device", "cpu")
    report, classes = read(tmp_path / "report.json"), RunFolder(finished).read_classes()
    per_class, confused = report["per_class"], report["confused"]
    assert [entry["wnid"] for entry in per_class] == list(classes.class_ids)
    assert [entry["name"] for entry in per_class] == list(classes.class_names)
    assert sum(entry["images"] for entry in per_class) == 36
    assert sum(entry["accuracy"] * entry["images"] for entry in per_class) / 36 == pytest.approx(report["top1"])
    assert report["balanced_accuracy"] == pytest.approx(report["top1"])  # of classes with 3 images each
    assert sum(pair["images"] for pair in confused) == round(36 * (1 - report["top1"]))
    for entry in per_class:
        wrong = sum(pair["images"] for pair in confused if pair["label"] == entry["name"])
        assert wrong == round(entry["images"] * (1 - entry["accuracy"]))
    assert all(pair["label"] != pair["predicted"] for pair in confused)
    assert [pair["images"] for pair in confused] == sorted((pair["images"] for pair in confused), reverse=True)


def test_other_batches_give_the_same_figures(call: Call, finished: Path, tmp_path: Path) -> None:
    for batch_size in (16, 5):
        options = (f"train.eval_batch_size={batch_size}", "--json", f"{batch_size}.json", "--device", "cpu")
        assert call(evaluate.main, finished, *options).code == 0
    one, other = read(tmp_path / "16.json"), read(tmp_path / "5.json")
    assert one.pop("loss") == pytest.approx(other.pop("loss"), rel=1e-5)
    assert one == other


def test_training_images_are_evaluated_as_they_are(call: Call, finished: Path, tmp_path: Path) -> None:
    """All of them, and a part, whose lines in the table are those of the same images in the table of all."""
    told = []
    for count in (48, 10):
        files = ("--json", f"{count}.json", "--csv", f"{count}.csv")
        ended = call(evaluate.main, finished, "--training-images", count, *files, "--device", "cpu")
        assert (ended.code, ended.err) == (0, "")
        told.append(re.findall("^on (.*), cpu", ended.out, re.MULTILINE))
    assert told == [["48 training images without augmentation"], ["10 of 48 training images without augmentation"]]
    every, some = (list(csv.reader((tmp_path / f"{count}.csv").read_text().splitlines())) for count in (48, 10))
    assert [int(row[0]) for row in every[1:]] == list(range(48))
    assert len(some) == 11
    for row in some[1:]:
        assert row[:5] == every[1 + int(row[0])][:5]
    report = read(tmp_path / "10.json")
    assert (report["images"], report["split"]) == (10, "train")
    call(evaluate.main, finished, "--json", "val.json", "--device", "cpu")
    assert read(tmp_path / "val.json")["split"] == "val"
    assert set(Counter(row[1] for row in every[1:]).values()) == {4}


def test_training_images_that_are_not_there_or_no_choice(
    call: Call, finished: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_refused(
        call(evaluate.main, finished, "--training-images", 49), "^error: --training-images 49: there are only 48;"
    )
    for arguments, message in (
        (("0",), "0 is less than 1"),
        (("9", "data.holdout=0"), "data.holdout chooses validation"),
    ):
        with pytest.raises(SystemExit) as caught:
            call(evaluate.main, finished, "--training-images", *arguments)
        assert caught.value.code == 2
        assert message in capfd.readouterr().err


def test_a_report_by_hand() -> None:
    """Three classes, of which one has no images; most confused first, then in the order of the classes."""
    labels, predicted = [0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 0, 0]
    result = evaluate.Evaluation(6, 1.5, 2 / 6, 1.0, evaluate.np.array(labels), evaluate.np.array(predicted))
    classes = evaluate.Classes(("n0", "n1", "n2"), ("ant", "bee", "cat"), (0.5,), (0.2,), "")
    report = evaluate.make_report(result, classes)
    assert [(entry["images"], entry["accuracy"]) for entry in report["per_class"]] == [(4, 0.5), (2, 0.0), (0, None)]
    assert [(pair["label"], pair["predicted"], pair["images"]) for pair in report["confused"]] == [
        ("bee", "ant", 2), ("ant", "bee", 1), ("ant", "cat", 1),
    ]  # fmt: skip
    assert report["chance"] == pytest.approx(1 / 3)
    assert report["balanced_accuracy"] == 0.25
    assert evaluate.format_report(report).splitlines() == [
        "loss    1.5000",
        "top-1   33.33%   (chance 33.33%)",  # and no top-5, which is 100% of three classes
        "balanced accuracy 25.00%   (mean of the classes' accuracies)",  # of the two that have images
        "",
        "classes, the best first",  # none of them twice
        "   50.00%  ant",
        "    0.00%  bee",
        "most confused",
        "     2 x  bee taken for ant",
        "     1 x  ant taken for bee",
        "     1 x  ant taken for cat",
    ]


def test_of_many_classes_the_best_and_the_worst_are_named_by_their_first_names() -> None:
    """Tiny ImageNet names a class by all its synonyms, and has two that are called crane."""
    names = ["crane", "crane", *(f"class {i}, the {i}th, with a long list of further synonyms" for i in range(2, 11))]
    classes = evaluate.Classes(tuple(f"n{i}" for i in range(11)), tuple(names), (0.5,), (0.2,), "")
    labels = evaluate.np.repeat(evaluate.np.arange(11), 10)
    predicted = evaluate.np.where(evaluate.np.arange(110) % 10 < labels, labels, 2)  # class i is right i times of 10
    report = evaluate.make_report(evaluate.Evaluation(110, 1.5, 0.5, 0.9, labels, predicted), classes)
    lines = evaluate.format_report(report).splitlines()
    best, worst, confused = (lines.index(title) for title in ("best classes", "worst classes", "most confused"))
    assert [line.split() for line in lines[best + 1 : worst]] == [
        ["100.00%", "class", "10"], ["100.00%", "class", "2"], ["90.00%", "class", "9"], ["80.00%", "class", "8"],
        ["70.00%", "class", "7"],
    ]  # fmt: skip
    assert [line.split("%  ")[1] for line in lines[worst + 1 : worst + 3]] == ["crane (n0)", "crane (n1)"]
    assert "class 3 taken for class 2" in "\n".join(lines[confused:])
    assert all(len(line) <= 80 for line in lines)


def test_two_classes_of_one_name_are_told_apart_in_the_report() -> None:
    result = evaluate.Evaluation(2, 1.5, 0.0, 1.0, evaluate.np.array([0, 1]), evaluate.np.array([1, 2]))
    classes = evaluate.Classes(("n0", "n1", "n2"), ("crane", "crane", "ant"), (0.5,), (0.2,), "")
    confused = evaluate.make_report(result, classes)["confused"]
    assert [(pair["label_wnid"], pair["predicted_wnid"]) for pair in confused] == [("n0", "n1"), ("n1", "n2")]
    assert [(pair["label"], pair["predicted"]) for pair in confused] == [("crane", "crane"), ("crane", "ant")]


def test_on_the_terminal_too_two_classes_of_one_first_name_are_told_apart_and_long_names_fit() -> None:
    result = evaluate.Evaluation(2, 1.5, 0.0, 1.0, evaluate.np.array([0, 1]), evaluate.np.array([1, 0]))
    classes = evaluate.Classes(("n0", "n1", "n2"), ("crane", "crane, machine", "ant " * 40), (0.5,), (0.2,), "")
    report = evaluate.make_report(result, classes)
    report["per_class"][2] |= {"images": 1, "accuracy": 0.0}
    lines = evaluate.format_report(report).splitlines()
    assert "     1 x  crane (n0) taken for crane (n1)" in lines
    assert max(map(len, lines)) <= 80


# Which run, which checkpoint.


def test_without_a_name_it_is_the_newest_run(call: Call, finished: Path, tmp_path: Path) -> None:
    for name, seconds in (("a", 100), ("b", 300), ("c", 200)):
        run = shutil.copytree(finished, tmp_path / "runs" / name)
        for file in run.iterdir():
            os.utime(file, (seconds, seconds))
    ended = call(evaluate.main, "--device", "cpu")
    assert ended.code == 0
    assert ended.out.startswith("runs/b/best.npz (step ")


def test_without_any_run(call: Call) -> None:
    assert_refused(call(evaluate.main), r"^error: /.*/runs: no run with a checkpoint in it; train one with `python")
    assert_refused(call(evaluate.main, "nowhere"), "^error: /.*/nowhere: there is no such folder")


def test_before_the_first_epoch_there_is_no_best(call: Call, copy: Path) -> None:
    (copy / "best.npz").unlink()
    arrays, meta = checkpoint.load(copy / "last.npz")
    progress = meta["progress"] | {"loss_count": meta["progress"]["step"], "epoch_seconds": 1.0}
    checkpoint.save(copy / "last.npz", arrays, meta | {"progress": progress})
    ended = call(evaluate.main, copy, "--checkpoint", "best")
    assert_refused(ended, r"best\.npz: this run has not been evaluated yet, .*use --checkpoint last")
    for options in ((), ("--checkpoint", "last")):
        ended = call(evaluate.main, copy, *options, "--device", "cpu")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"{copy}/last.npz (step ")
    (copy / "last.npz").unlink()
    assert_refused(call(evaluate.main, copy, "--checkpoint", "last"), r"last\.npz: there is no such checkpoint")


# The moving average.


@pytest.fixture
def averaged(copy: Path) -> Path:
    """The finished run with an average beside its parameters: half of each, which is another model."""
    for name in ("best", "last"):
        arrays, meta = checkpoint.load(copy / f"{name}.npz")
        halves = {n.replace("params/", "average/", 1): a / 2 for n, a in arrays.items() if n.startswith("params/")}
        checkpoint.save(copy / f"{name}.npz", arrays | halves, meta)
    return copy


def test_the_average_is_evaluated_where_there_is_one(call: Call, averaged: Path, finished: Path) -> None:
    losses = {}
    for name, run, options in (
        ("default", averaged, ()),
        ("average", averaged, ("--weights", "average")),
        ("raw", averaged, ("--weights", "raw")),
        ("last", averaged, ("--checkpoint", "last")),
        ("plain", finished, ("--weights", "raw")),
    ):
        ended = call(evaluate.main, run, *options, "--json", f"{name}.json", "--device", "cpu")
        assert ended.code == 0, ended.err
        report = read(Path(f"{name}.json"))
        losses[name] = report["loss"]
        assert report["weights"] == ("raw" if name in ("raw", "plain") else "average")
        words = "raw parameters" if name in ("raw", "plain") else "moving average of the parameters"
        assert f", {words})\non 36 validation images" in ended.out
    assert losses["default"] == losses["average"] != losses["raw"]
    assert losses["raw"] == losses["plain"]


def test_an_average_that_was_not_kept(call: Call, finished: Path) -> None:
    ended = call(evaluate.main, finished, "--weights", "average")
    assert_refused(ended, r"best\.npz: no moving average in it, as optim\.ema was null; use --weights raw")


# Bad input.


@pytest.mark.parametrize("which", ["best", "last"])
def test_half_a_checkpoint_is_refused(call: Call, copy: Path, which: str) -> None:
    path = copy / f"{which}.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert_refused(call(evaluate.main, copy, "--checkpoint", which), rf"^error: {path}: damaged or cut short")


def test_a_checkpoint_of_another_model_is_refused(call: Call, copy: Path) -> None:
    text = (copy / "config.yml").read_text()
    (copy / "config.yml").write_text(text.replace("layers: 1", "layers: 2"))
    assert_refused(call(evaluate.main, copy), r"best\.npz: of another model: it lacks params/encoder/block_1/")


def test_a_checkpoint_from_elsewhere_is_refused(call: Call, copy: Path) -> None:
    checkpoint.save(copy / "best.npz", {"params": {"W": evaluate.np.zeros(3)}}, {})
    assert_refused(call(evaluate.main, copy), r"best\.npz: of another model: it lacks .*; it also has params/W\.")


def test_no_option_is_advised_that_would_be_refused(call: Call) -> None:
    told = r"--num-workers 3: options of the configuration are written section\.key=value: data\.workers=3"
    assert_refused(call(evaluate.main, "--num-workers", "3"), told)
    assert_refused(call(evaluate.main, "--lr", "3"), "--lr 3: there is no such option; --help lists the options")


def test_data_that_are_not_those_of_the_run(call: Call, finished: Path, tmp_path: Path) -> None:
    """Not the advice to change the model, which an evaluation cannot do; and no shapes are drawn for it."""
    ended = call(evaluate.main, finished, "data.root=nowhere")
    assert_refused(ended, "/nowhere: there is no such folder; .*`python -m data.shapes --to /.*/nowhere`")
    assert list(tmp_path.iterdir()) == []
    other = write_data_set(tmp_path / "other")
    ended = call(evaluate.main, finished, f"data.root={other}", "data.workers=1")
    ended = ended._replace(err=ended.err.splitlines(keepends=True)[-1])  # the rest is the bar of the decoding
    assert_refused(ended, rf"{other}: its classes are not those of {finished}; name the data .* data\.root=DIR")


def test_data_that_the_model_does_not_fit(call: Call, copy: Path, tmp_path: Path) -> None:
    other = write_data_set(tmp_path / "other")
    classes = json.loads((copy / "classes.json").read_text())
    (copy / "classes.json").write_text(json.dumps(classes | {"wnids": WNIDS, "names": NAMES}))
    ended = call(evaluate.main, copy, f"data.root={other}", "data.workers=1")
    assert ended.code == 2
    assert "model.num_classes=12, but the data have 3 classes: name the data" in ended.err
    assert f"{copy} was trained on with data.root=DIR" in ended.err


def test_other_images_of_the_same_classes_are_mentioned(call: Call, copy: Path) -> None:
    text = (copy / "classes.json").read_text()
    (copy / "classes.json").write_text(re.sub('"fingerprint": ".', '"fingerprint": "x', text))
    ended = call(evaluate.main, copy, "--device", "cpu")
    assert ended.code == 0
    assert re.fullmatch(rf"warning: .*/shapes: not the images that {copy} was trained with\n", ended.err)


def test_what_would_change_the_result_stays(call: Call, finished: Path) -> None:
    for option in ("model.pooling=mean", "data.name=tiny_imagenet", "train.seed=1"):
        assert_refused(call(evaluate.main, finished, option), f"^error: {option}: {finished} keeps the options")


def test_a_report_that_cannot_be_written(call: Call, finished: Path) -> None:
    ended = call(evaluate.main, finished, "--json", "nowhere/report.json", "--device", "cpu")
    assert ended.code == 2
    assert ended.err == "error: --json nowhere/report.json: there is no folder nowhere; make it first\n"


def test_a_run_folder_may_have_an_equals_sign_in_its_name(call: Call, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "lr=3").symlink_to(finished)
    assert call(evaluate.main, "lr=3", "--device", "cpu").code == 0


def test_one_run_at_a_time(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call(evaluate.main, "a", "b")
    assert caught.value.code == 2
    assert "one run at a time, got a and b" in capfd.readouterr().err


def test_debug_shows_the_traceback(call: Call) -> None:
    with pytest.raises(UserError):
        call(evaluate.main, "nowhere", "--debug")


def test_the_process_itself(tmp_path: Path, programs: Path) -> None:
    with start_python(ROOT / "evaluate.py", cache=programs, cwd=tmp_path) as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"error: {tmp_path}/runs: no run with a checkpoint in it")
