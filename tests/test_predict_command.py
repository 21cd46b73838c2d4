"""predict.py as it is used: what it says is what evaluation computes, and one bad image does not spoil the others."""

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import evaluate
import predict
from common.streams import OUTPUT
from data.augment import normalize
from data.chosen_images import choose_images, read_images
from data.tiny_imagenet import load
from model.weights.namings import NAMINGS
from tests.conftest import Ended
from tests.tiny_data import jpeg
from tests.tiny_runs import ROOT, start_python
from tests.tiny_weights import export, imported
from training import checkpoint
from training.evaluation import EvaluationStep
from training.run_folder import RunFolder
from training.trained import load_trained

Call = Callable[..., Ended]


@pytest.fixture
def say(call: Call, finished: Path) -> Callable[..., Ended]:
    """predict.py with the finished run."""
    return lambda *argv: call(predict.main, *argv, "--run", finished, "--device", "cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve images, and what else lies in folders."""
    root = tmp_path / "my photos"
    (root / "below").mkdir(parents=True)
    for number in range(12):
        (root / ("below" if number % 2 else ".") / f"{number:02}.jpg").write_bytes(jpeg(number, (20, 30)))
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.jpg").write_text("no image")
    return root


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def validation_images(shapes_root: Path) -> list[Path]:
    """The files of the validation images in the order of the data set."""
    lines = (shapes_root / "val" / "val_annotations.txt").read_text().splitlines()
    names = {line.split("\t")[0]: line.split("\t")[1] for line in lines}
    classes = (shapes_root / "wnids.txt").read_text().split()
    ordered = sorted(names, key=lambda name: (classes.index(names[name]), name))
    assert len(ordered) == 36
    return [shapes_root / "val" / "images" / name for name in ordered]


# What it says.


def test_probabilities_are_those_of_the_evaluation_bit_for_bit(
    say: Call, finished: Path, shapes_root: Path, tmp_path: Path
) -> None:
    """In the same batches of 16, of which the last one is padded, by a program of its own."""
    trained = load_trained(RunFolder(finished))
    split = load(shapes_root, workers=1, quiet=True).val
    files = validation_images(shapes_root)
    pixels = [read.pixels for read in read_images(list(map(str, files)), predict.Predictor(trained, 36, 5).target, 2)]
    assert {image.tobytes() for image in split.images} == {image.tobytes() for image in pixels if image is not None}

    @jax.jit
    def logits(params: Any, images: Any) -> Any:
        return trained.model.forward(params, normalize(images, trained.classes.mean, trained.classes.std, "float32"))[0]

    padded = np.concatenate([np.stack(pixels), np.zeros((12, *pixels[0].shape), np.uint8)])
    expected = np.concatenate([logits(trained.params, padded[i : i + 16]) for i in (0, 16, 32)])[:36]
    step = predict.Predictor(trained, 36, 12)
    assert step.batch_size == 16
    ours = np.concatenate([step._run(padded[i : i + 16])[0] for i in (0, 16, 32)])[:36]
    np.testing.assert_array_equal(ours, expected)
    evaluated = jax.jit(EvaluationStep(trained.model, trained.classes.mean, trained.classes.std))
    labels = np.arange(16) % 12
    losses, guesses, _ = evaluated(trained.params, padded[:16], labels)
    probabilities = step._run(padded[:16])[1]
    np.testing.assert_allclose(np.exp(-losses), probabilities[np.arange(16), labels], rtol=1e-6)
    np.testing.assert_array_equal(guesses, probabilities.argmax(axis=1))

    assert say(*files, "--top", "12", "--json", "all.json").code == 0
    exact = np.exp(expected.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    for image, p in zip(read(tmp_path / "all.json")["images"], exact, strict=True):
        found = {guess["wnid"]: guess["probability"] for guess in image["guesses"]}
        np.testing.assert_allclose([found[wnid] for wnid in trained.classes.class_ids], p, rtol=1e-6)


@pytest.mark.parametrize("naming", NAMINGS)
def test_an_exported_and_imported_run_says_the_same(
    naming: str, finished: Path, shapes_root: Path, tmp_path: Path
) -> None:
    """Bit for bit, but for the position of the class token, which big_vision adds to the token."""
    run = RunFolder(finished)
    export(run, tmp_path / "weights.npz", "--names", naming)
    back = imported(tmp_path / "weights.npz")
    images = load(shapes_root, workers=1, quiet=True).val.images[:16]
    expected, found = (
        predict.Predictor(load_trained(each), 16, 12)._run(np.asarray(images))[1] for each in (run, back)
    )
    if "big_vision" in naming:
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected)


def test_an_imported_run_is_evaluated_as_the_run_was(
    call: Call, finished: Path, shapes_root: Path, tmp_path: Path
) -> None:
    export(RunFolder(finished), tmp_path / "weights.npz", "--names", "google")
    back = imported(tmp_path / "weights.npz")
    for run, name in ((finished, "run.json"), (back.path, "back.json")):
        assert call(evaluate.main, run, f"data.root={shapes_root}", "--json", name, "--device", "cpu").code == 0
    one, other = (read(tmp_path / name) for name in ("run.json", "back.json"))
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-6)  # its batches are larger, and round otherwise
    assert {key for key in one if one[key] != other[key]} - {"loss"} == {"run"}


def test_the_first_guesses_are_those_that_evaluate_counts(
    say: Call, call: Call, finished: Path, shapes_root: Path, tmp_path: Path
) -> None:
    assert say(shapes_root / "val", "--json", "predicted.json").code == 0
    assert call(evaluate.main, finished, "--json", "evaluated.json", "--device", "cpu").code == 0
    lines = (shapes_root / "val" / "val_annotations.txt").read_text().splitlines()
    labels = {line.split("\t")[0]: line.split("\t")[1] for line in lines}
    images = read(tmp_path / "predicted.json")["images"]
    right = [image["guesses"][0]["wnid"] == labels[Path(image["path"]).name] for image in images]
    assert len(right) == 36
    assert np.mean(right) == pytest.approx(read(tmp_path / "evaluated.json")["top1"])


def test_one_image_is_shown_with_bars(say: Call, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpeg(1))  # its content counts, not its name
    ended = say("a.png", "--top", "3")
    assert (ended.code, ended.err) == (0, "")
    head, _, shown = ended.out.partition("\n\n")
    assert head.splitlines()[1] == "on 1 image, cpu, " + head.splitlines()[1].split(", ")[-1]
    first, *guesses = shown.splitlines()
    assert (first, len(guesses)) == ("a.png", 3)
    percents = [float(line.split("%")[0]) for line in guesses]
    assert percents == sorted(percents, reverse=True)
    assert [line.count("█") for line in guesses] == [round(percent * 0.38) for percent in percents]
    assert all(len(line) <= 80 for line in ended.out.splitlines()[2:])


def test_more_guesses_than_there_are_classes(say: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    assert say("a.jpg", "--top", "500", "--json", "a.json").code == 0
    (image,) = read(tmp_path / "a.json")["images"]
    assert len(image["guesses"]) == len({guess["wnid"] for guess in image["guesses"]}) == 12
    assert sum(guess["probability"] for guess in image["guesses"]) == pytest.approx(1)


def test_a_folder_has_a_line_for_each_image_and_a_summary(say: Call, photos: Path) -> None:
    ended = say(photos)
    assert (ended.code, ended.err) == (0, "")
    assert "note: no images, and left alone: 1 .jpg, 1 .txt\n" in ended.out
    lines = ended.out.partition("\n\n")[2].splitlines()
    assert [line.split()[1] for line in lines[:6]] == [f"photos/{number:02}.jpg" for number in range(0, 12, 2)]
    assert lines[6].startswith("..") == (len(str(photos / "below" / "01.jpg")) > 37)
    assert lines[13].startswith("12 images of ")
    assert all(len(line) <= 80 for line in lines)


def test_the_result_does_not_depend_on_the_batch(say: Call, photos: Path, tmp_path: Path) -> None:
    found = []
    for size in (16, 5):
        assert say(photos, f"train.eval_batch_size={size}", "--json", f"{size}.json").code == 0
        images = read(tmp_path / f"{size}.json")["images"]
        found.append({image["path"]: [guess["probability"] for guess in image["guesses"]] for image in images})
    assert found[0].keys() == found[1].keys()
    for path, p in found[0].items():
        np.testing.assert_allclose(p, found[1][path], rtol=1e-5)


def test_files_have_everything(say: Call, photos: Path, tmp_path: Path, finished: Path) -> None:
    (photos / "00.jpg").write_bytes(jpeg(0)[:300])
    ended = say(photos, "--csv", "p.csv", "--json", "p.json", "--features", "p.npz", "--top", "2")
    assert ended.code == predict.SOME_BROKEN
    assert "written: p.json, p.csv, p.npz (each image is there)" in ended.out
    assert "01.jpg" not in ended.out
    report = read(tmp_path / "p.json")
    assert (report["run"], report["checkpoint"], report["weights"]) == (str(finished), "best.npz", "raw")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert len(rows) == 12
    assert list(rows[0]) == ["path", *(f"{n}_{k}" for k in (1, 2) for n in ("wnid", "name", "probability")), "problem"]
    for row, image in zip(rows, report["images"], strict=False):
        assert (row["path"], row["problem"]) == (image["path"], "")
        for k, guess in enumerate(image["guesses"], 1):
            assert (row[f"wnid_{k}"], row[f"name_{k}"]) == (guess["wnid"], guess["name"])
            assert float(row[f"probability_{k}"]) == pytest.approx(guess["probability"], rel=1e-5)
    (broken,) = report["broken"]
    assert (rows[-1]["path"], rows[-1]["problem"]) == (broken["path"], broken["problem"])
    with np.load(tmp_path / "p.npz") as features:
        assert features["features"].shape == (11, 8)
        assert list(features["paths"]) == [image["path"] for image in report["images"]]
        ids = RunFolder(finished).read_classes().class_ids
        assert [ids[c] for c in features["predicted"]] == [image["guesses"][0]["wnid"] for image in report["images"]]


def test_files_are_written_though_nobody_reads_the_output(
    say: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object, **__: object) -> str:
        raise BrokenPipeError(32, "Broken pipe", OUTPUT)  # as print does in `predict.py photos | head`

    monkeypatch.setattr(predict, "as_text", leave)
    assert say(photos, "--json", "p.json").code == 141
    assert len(read(tmp_path / "p.json")["images"]) == 12


# Looking inside. What is drawn is the concern of test_inside.py.


def test_figures_are_drawn(say: Call, photos: Path, tmp_path: Path) -> None:
    (photos / "02.jpg").write_bytes(b"broken")
    kinds = ("attention", "saliency", "patches")
    options = [word for kind in kinds for word in (f"--{kind}", f"{kind}.png")]
    ended = say(*(photos / f"{number:02}.jpg" for number in (0, 2, 4)), *options)
    assert ended.code == predict.SOME_BROKEN
    assert ended.out.endswith("\nwritten: attention.png, saliency.png, patches.png\n")
    widths = {}
    for kind in kinds:
        with Image.open(tmp_path / f"{kind}.png") as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            widths[kind] = picture.width
    assert widths["attention"] > widths["saliency"]  # five panels: image, two heads, their mean, rollout; and four


def test_figures_are_of_few_images_and_png_files(say: Call, photos: Path) -> None:
    ended = say(photos, "--attention", "a.png")
    assert ended == (2, "", "error: --attention: at most 8 images are drawn, and these are 12\n")
    with pytest.raises(SystemExit):
        say(photos / "00.jpg", "--saliency", "a.jpg")


# Which images.


def test_one_bad_image_is_told_and_the_others_are_predicted(say: Call, photos: Path) -> None:
    bad = photos / "evil\x1b[2J\n.jpg"
    bad.write_bytes(jpeg(3)[:400])
    (photos / "gone.jpg").symlink_to("nowhere")
    ended = say(photos)
    assert ended.code == predict.SOME_BROKEN
    lines = ended.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{photos}/evil\\x1b[2J\\n.jpg: not an intact image (")
    assert lines[1] == f"{photos}/gone.jpg: cannot be read: No such file or directory; left out"
    assert "\x1b" not in ended.out + ended.err
    assert "\n12 images of " in ended.out


def test_where_no_image_can_be_read_it_is_an_error(say: Call, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    ended = say("a.jpg", "--json", "a.json")
    assert ended.code == 2
    assert ended.err == "error: a.jpg: empty\n"
    assert not (tmp_path / "a.json").exists()
    (tmp_path / "b.jpg").write_bytes(b"GIF89a")
    ended = say("a.jpg", "b.jpg")
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == "error: none of the 2 images can be read"
    assert ended.err.count("; left out\n") == 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16", "CMYK"])
def test_an_image_of_one_pixel_in_any_mode(say: Call, tmp_path: Path, mode: str) -> None:
    Image.new(mode, (1, 1)).save(tmp_path / "one.tif")
    ended = say("one.tif")
    assert (ended.code, ended.err) == (0, "")


def test_an_image_from_standard_input(say: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(jpeg(1))))
    ended = say("-", "a.jpg")
    assert (ended.code, ended.err) == (0, "")
    one, other = ended.out.partition("\n\n")[2].split("\n\n")
    assert one.splitlines()[0] == "standard input"
    assert one.splitlines()[1:] == other.splitlines()[1:]


def test_a_terminal_is_no_image(say: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be waited for in silence."""
    monkeypatch.setattr(sys, "stdin", None)  # closed, as by `<&-`
    told = "error: -: an image is expected on standard input, as in `python predict.py - < photo.jpg`\n"
    assert say("-") == (2, "", told)
    stdin = io.TextIOWrapper(io.BytesIO())
    stdin.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", stdin)
    assert say("-") == (2, "", told)


def test_patterns_folders_and_files_each_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    (photos / "[0].jpg").write_bytes(jpeg(1))
    (photos / "below" / "again").symlink_to(photos)  # a circle
    assert choose_images(["[0].jpg"]).names == ["[0].jpg"]  # a file of this name, not a pattern
    assert choose_images(["0[02].jpg", "*.txt", "00.jpg"])[:2] == (["00.jpg", "02.jpg"], {".txt": 1})
    assert choose_images(["**/*1.jpg"]).names[:1] == ["below/01.jpg"]
    assert [Path(name).name for name in choose_images(["."]).names].count("01.jpg") == 1


def test_what_names_no_image_is_refused(say: Call, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for argument, told in (
        ("nowhere.jpg", "nowhere.jpg: there is no such file or folder"),
        ("no*where.jpg", "no*where.jpg: no file or folder has a name like this"),
        ("empty", "empty: no images here"),
        (f"{photos}/*.txt", f"{photos}/*.txt: no images here, but 1 other file"),
    ):
        assert say(argument) == (2, "", f"error: {told}\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told(say: Call, photos: Path) -> None:
    (photos / "below").chmod(0)
    ended = say(photos)
    (photos / "below").chmod(0o700)
    assert ended.code == predict.SOME_BROKEN
    assert "below: cannot be read: Permission denied; left out" in ended.err


# Which run, and bad input.


def test_without_a_run_or_without_its_checkpoint(call: Call, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    assert "runs: no run with a checkpoint in it; train one with" in call(predict.main, "a.jpg").err
    run = Path(shutil.copytree(finished, tmp_path / "runs" / "newest"))
    ended = call(predict.main, "a.jpg", "--device", "cpu")
    assert (ended.code, ended.out.split(" ")[0]) == (0, "runs/newest/best.npz")
    (run / "best.npz").unlink()
    (run / "last.npz").unlink()
    ended = call(predict.main, "a.jpg", "--run", run)
    assert ended.code == 2
    assert "best.npz: there is no such checkpoint" in ended.err


def test_what_would_change_the_prediction_stays(say: Call, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "data.resize=pad").write_bytes(jpeg(1))
    assert f"data.resize=squash: {finished} keeps the options" in say("a.jpg", "data.resize=squash").err
    assert say("data.resize=pad").code == 0  # a file of this name
    ended = say("a.jpg", "--json", "nowhere/a.json")
    assert ended.err == "error: --json nowhere/a.json: there is no folder nowhere; make it first\n"


def test_no_image_is_overwritten(say: Call, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpeg(1))
    for option in ("--attention", "--json"):
        ended = say("a.png", option, tmp_path / "a.png")
        assert ended.err == f"error: {option} {tmp_path}/a.png: this is one of the images; choose another file\n"
    assert (tmp_path / "a.png").read_bytes() == jpeg(1)


def test_two_results_are_not_written_to_one_file(say: Call, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpeg(1))
    ended = say("a.png", "--json", "x", "--csv", "./x")
    assert ended.err == "error: --csv x: the same file as --json; choose another one\n"


def test_an_empty_standard_input_is_told(say: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert say("-").err == "error: standard input: empty\n"


def test_what_is_no_number_is_refused(call: Call, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    arrays, meta = checkpoint.load(run / "best.npz")
    arrays["params/head/b"][0] = np.nan
    checkpoint.save(run / "best.npz", arrays, meta)
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    ended = call(predict.main, "a.jpg", "--run", "run", "--json", "a.json", "--device", "cpu")
    assert ended.err == "error: run/best.npz: what it says is no number, as of a run that diverged: use another one\n"
    assert not (tmp_path / "a.json").exists()


def test_names_that_are_no_text(say: Call, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    name = os.fsdecode(b"\xff.jpg")
    (tmp_path / "photos" / name).write_bytes(jpeg(1))
    (tmp_path / "photos" / f"x{name}").write_bytes(b"")
    ended = say("photos", "--json", "a.json", "--csv", "a.csv", "--features", "a.npz")
    assert (ended.code, ended.err[:8]) == (predict.SOME_BROKEN, "photos/x")
    assert read(tmp_path / "a.json")["images"][0]["path"] == f"photos/{name}"
    with np.load(tmp_path / "a.npz") as features:
        assert features["paths"][0] == f"photos/{name}"


@pytest.mark.parametrize("argv", [["--top", "0", "a.jpg"], ["data.workers=1"], []])
def test_wrong_usage(say: Call, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        say(*argv)
    assert caught.value.code == 2


def test_the_process_itself(tmp_path: Path, programs: Path) -> None:
    with start_python(ROOT / "predict.py", "a.jpg", cache=programs, cwd=tmp_path) as process:
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (2, "", "error: a.jpg: there is no such file or folder\n")
