"""The pages of the studio, by Streamlit's own app tests: what a click begins is a command, and what is shown is what
that command found."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import jobs, runs
from tests.tiny_data import jpeg
from tests.tiny_runs import ROOT

testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit is optional")
TRAIN, PREDICT, INSIDE, GRADIENTS = ("views/train.py", "views/predict.py", "views/inside.py", "views/gradients.py")


@pytest.fixture(autouse=True)
def folder(studio_folder: Path, shapes_root: Path) -> Path:
    """The current folder, in which the shapes are drawn already."""
    Path("datasets").mkdir()
    Path("datasets/shapes").symlink_to(shapes_root)
    return studio_folder


@pytest.fixture
def trained(folder: Path, finished: Path) -> Path:
    """A run that ended, in runs/."""
    return Path(shutil.copytree(finished, "runs/finished"))


def open_page(page: str) -> Any:
    app = testing.AppTest.from_file(str(ROOT / "studio" / "app.py"), default_timeout=60).run()
    return fine(app if page == TRAIN else app.switch_page(page).run())


def fine(app: Any) -> Any:
    assert not app.exception, [(e.message, e.stack_trace) for e in app.exception]
    return app


def button(app: Any, label: str) -> Any:
    return next(b for b in app.button if b.label == label)


def until(app: Any, condition: Callable[[Any], object], seconds: float = 120) -> Any:
    """Look again, as the page does each second, until there is what is waited for."""
    end = time.monotonic() + seconds
    while not condition(app):
        assert time.monotonic() < end, [job.output() for job in jobs.all_jobs()]
        time.sleep(0.1)
        fine(app.run())
    return app


def texts(app: Any) -> str:
    """What is said on the page."""
    kinds = ("markdown", "caption", "code", "error", "info", "success", "html", "metric", "progress")
    return "\n".join(str(getattr(e, "value", "") or getattr(e, "text", "")) for k in kinds for e in app.get(k))


TINY_MODEL = {
    "model.patch_size": "32", "model.d_model": "8", "model.heads": "2", "model.layers": "1", "model.mlp_dim": "8",
    "train.epochs": "2", "train.batch_size": "8", "data.workers": "1",
}  # fmt: skip


def test_a_training_is_begun_watched_stopped_and_goes_on() -> None:
    app = open_page(TRAIN)
    for option, value in (TINY_MODEL | {"train.epochs": "2000"}).items():
        app.text_input(key=f"demo {option}").set_value(value)
    fine(app.run())
    shown = next(code.value for code in app.code if code.value.startswith("python train.py demo"))
    assert "model.patch_size=32" in shown
    assert "train.epochs=2000" in shown
    fine(button(app, "Start").click().run())
    until(app, lambda a: any(metric.label == "images/s" for metric in a.metric) and len(a.get("vega_lite_chart")))
    [run] = runs.all_runs()
    assert run.state == runs.RUNNING
    assert run.job is not None
    assert run.job.shown == shown
    assert app.selectbox(key="watched run").value == str(run.path)
    fine(button(app, "Stop").click().run())
    until(app, lambda a: any(b.label == "Go on" for b in a.button))
    assert [r.state for r in runs.all_runs()] == [runs.STOPPED]
    fine(button(app, "Go on").click().run())
    until(app, lambda a: runs.all_runs()[0].state == runs.RUNNING)
    again = runs.all_runs()[0].job
    assert again is not None
    assert again.shown == f"python train.py --resume {run.path}"
    fresh = open_page(TRAIN)  # as in another window, or after the studio was closed
    assert fresh.selectbox(key="watched run").value == str(run.path)
    runs.stop(runs.all_runs()[0])
    until(fresh, lambda a: not again.is_running())


def test_what_is_wrong_with_an_option_is_told_and_nothing_can_start() -> None:
    app = open_page(TRAIN)
    app.text_input(key="demo model.heads").set_value("7")
    fine(app.run())
    assert "heads must divide" in texts(app).replace("\\", "")
    assert not any(b.label == "Start" for b in app.button)
    app.text_input(key="demo model.heads").set_value("4")
    fine(app.run())
    app.text_input(key=next(t.key for t in app.text_input if t.label == "Name of the run")).set_value("../away")
    fine(app.run())
    assert "use letters" in texts(app)
    assert not any(b.label == "Start" for b in app.button)
    assert jobs.all_jobs() == []


@pytest.mark.parametrize("option", ["data.cache", "train.start_from"])
def test_no_option_leads_out_of_the_folders(option: str) -> None:
    app = open_page(TRAIN)
    app.text_input(key=f"demo {option}").set_value("/tmp")
    fine(app.run())
    assert "outside the folders of the studio" in texts(app)
    assert not any(b.label == "Start" for b in app.button)


def test_pictures_and_model_are_shown_before_the_start() -> None:
    app = open_page(TRAIN)
    for option, value in TINY_MODEL.items():
        app.text_input(key=f"demo {option}").set_value(value)
    fine(app.run())
    fine(button(app, "Look at the pictures and the model first").click().run())
    until(app, lambda a: "parameters" in texts(a) and len(a.image) > 0)
    kinds = {job.about.kind: job.shown for job in jobs.all_jobs()}
    assert kinds["preview"].startswith("python -m training.preview demo ")
    assert kinds["summary"].endswith("--summary")


def test_a_folder_of_pictures_is_handed_over_inspected_and_offered() -> None:
    app = open_page(TRAIN)
    fine(app.radio(key="kind of data").set_value("My own pictures").run())
    assert "Hand over a folder" in texts(app)
    files = [(f"pets/{kind}/{n}.jpg", jpeg(n, (16, 16)), "image/jpeg") for kind in ("cat", "dog") for n in range(3)]
    app.file_uploader(key="handed folder").set_value(files)
    app.text_input(key="name of the folder").set_value("my pets")
    fine(app.run())
    fine(button(app, "Keep it").click().run())
    assert len(list(Path("datasets/my pets").rglob("*.jpg"))) == 6
    fine(app.run())
    assert app.selectbox(key="folder").value == "datasets/my pets"
    shown = next(code.value for code in app.code if code.value.startswith("python train.py"))
    assert shown.startswith("python train.py image_folder 'data.root=datasets/my pets' --run 'runs/my pets-")
    fine(button(app, "What is in it?").click().run())
    until(app, lambda a: "2 classes" in texts(a))
    app.text_input(key="path of a folder").set_value("/etc")
    fine(app.run())
    assert "outside the folders of the studio" in texts(app)
    assert not any(b.label == "Start" for b in app.button)


def test_data_that_are_not_there_are_not_trained_on() -> None:
    app = open_page(TRAIN)
    fine(app.radio(key="kind of data").set_value("A known data set").run())
    assert "python -m data.download tiny_imagenet" in texts(app)
    assert not any(b.label == "Start" for b in app.button)


def test_two_models_are_asked_about_the_same_pictures(trained: Path) -> None:
    shutil.copytree(trained, "runs/other")
    app = open_page(PREDICT)
    app.selectbox(key="asked run").set_value("runs/finished")
    fine(app.run())
    app.selectbox(key="other run").set_value("runs/other")
    app.file_uploader(key="handed pictures").set_value([
        ("a *bold* <b>name</b>.jpg", jpeg(1, (30, 20)), "image/jpeg"), ("broken.png", b"no picture", "image/png"),
    ])  # fmt: skip
    fine(app.run())
    fine(button(app, "Ask").click().run())
    until(app, lambda a: len(a.get("progress")) == 10)  # five guesses of each
    found = [json.loads((job.results / "guesses.json").read_text()) for job in jobs.all_jobs(["predict"])]
    assert found[0]["images"][0]["guesses"] == found[1]["images"][0]["guesses"]
    best = found[0]["images"][0]["guesses"][0]
    assert any(f"{best['probability']:.1%}" in bar.text for bar in app.get("progress"))
    assert "broken" in texts(app)
    assert {job.about.run for job in jobs.all_jobs(["predict"])} == {"runs/finished", "runs/other"}
    assert len(app.image) == 6  # of each the picture, attention and saliency


def test_validation_images_are_drawn_and_asked_about(trained: Path) -> None:
    app = open_page(PREDICT)
    fine(app.button_group(key="kind of pictures").set_value("Validation images").run())
    fine(button(app, "Draw some").click().run())
    until(app, lambda a: len(a.checkbox) == 12)
    fine(app.checkbox[3].check().run())
    fine(button(app, "Ask").click().run())
    until(app, lambda a: len(a.get("progress")) == 5)
    [job] = jobs.all_jobs(["predict"])
    assert job.shown.count("pictures/") == 1


def test_an_evaluation_opens_the_images_of_its_cells_and_its_mistakes(trained: Path) -> None:
    app = open_page(INSIDE)
    fine(button(app, "Evaluate it on all validation images").click().run())
    until(app, lambda a: any(metric.label == "top-1" for metric in a.metric))
    [job] = jobs.all_jobs(["evaluate"])
    figures = json.loads((job.results / "evaluation.json").read_text())
    assert next(m.value for m in app.metric if m.label == "top-1") == f"{figures['top1']:.2%}"
    pair = figures["confused"][0]
    app.selectbox(key="label of the cell").set_value(pair["label_wnid"])
    fine(app.run())
    app.selectbox(key="guess of the cell").set_value(pair["predicted_wnid"])
    fine(app.run())
    fine(next(b for b in app.button if b.key == "open the cell").click().run())
    until(app, lambda a: len(a.image) == pair["images"])
    assert f"taken for {pair['predicted'].partition(',')[0]}" in texts(app)
    fine(app.button_group(key="part of inside").set_value("Mistakes").run())
    wrong = round(figures["images"] * (1 - figures["top1"]))
    assert f"of {wrong} mistakes" in texts(app)
    fine(app.button_group(key="part of inside").set_value("Report").run())
    assert len(app.get("iframe")) == 1
    again = open_page(INSIDE)  # the evaluation is found
    assert any(metric.label == "top-1" for metric in again.metric)


def test_a_part_is_checked_and_its_lesson_shown() -> None:
    app = open_page(GRADIENTS)
    assert "dx = dy @ params" in texts(app)  # the source of the first part
    assert r"dW = " in texts(app)  # its chapter
    fine(button(app, "Check").click().run())
    until(app, lambda a: any("all pass" in s.value for s in a.success))
    table = app.dataframe[0].value
    assert set(table["verdict"]) == {"pass"}
    assert {"W", "b", "x"} <= set(table["tensor"])
    assert jobs.all_jobs()[0].shown.startswith("python gradcheck.py --only Dense --verbose --json ")


def test_a_planted_mistake_is_caught() -> None:
    app = open_page(GRADIENTS)
    fine(app.button_group(key="kind of check").set_value("Plant a mistake").run())
    mistake = app.selectbox(key="mistake in model/layers/dense.py")
    assert mistake.options[0] == "dx has its sign flipped"
    fine(button(app, "Plant it and check").click().run())
    until(app, lambda a: any("Caught" in s.value for s in a.success))
    assert "sign flipped" in texts(app)


def test_a_trained_model_is_checked(trained: Path) -> None:
    app = open_page(GRADIENTS)
    fine(app.button_group(key="kind of check").set_value("A trained model").run())
    fine(button(app, "Check").click().run())
    until(app, lambda a: any("pass" in s.value for s in a.success))
    assert jobs.all_jobs()[0].shown.startswith("python gradcheck.py --checkpoint runs/finished --verbose --json ")


@pytest.mark.parametrize("page", [PREDICT, INSIDE])
def test_without_a_run_a_page_says_what_to_do(page: str) -> None:
    app = open_page(page)
    assert "Train one" in texts(app)
    assert not app.button


def test_names_are_text(trained: Path) -> None:
    """The names of classes and files are no markup, and lead nowhere."""
    path = trained / "classes.json"
    classes = json.loads(path.read_text())
    classes["names"] = [f"**{name}** <img src=x onerror=alert(1)> [a](http://b) $x$" for name in classes["names"]]
    path.write_text(json.dumps(classes))
    app = open_page(PREDICT)
    app.file_uploader(key="handed pictures").set_value([("<b>x</b>.jpg", jpeg(1, (30, 20)), "image/jpeg")])
    fine(app.run())
    fine(button(app, "Ask").click().run())
    until(app, lambda a: len(a.get("progress")) == 5)
    for bar in app.get("progress"):
        assert r"\*\*" in bar.text
        assert r"\<img" in bar.text
        assert r"\$x\$" in bar.text
    assert all("<b>" not in html.value for html in app.get("html"))
