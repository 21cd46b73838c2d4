"""Learning curves: the picture's lines are the metrics', and what cannot be drawn is one line."""

import importlib.util
import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Ended
from tests.tiny_runs import ROOT
from training import curves
from training.metrics import MetricsRow
from training.run_folder import RunFolder
from training.sweep import Sweep

Call = Callable[..., Ended]
with_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is optional")


def rows(count: int, top1: float | None = 0.5) -> list[MetricsRow]:
    """Losses 2 / epoch and 3 / epoch; accuracy, where there is any, 1% more an epoch."""
    epochs = range(1, count + 1)
    return [MetricsRow(e, 10 * e, 2 / e, 3 / e, top1 and top1 + e / 100, 0.9, 0.1, 9, 60, 0) for e in epochs]


@pytest.fixture
def sweep(finished: Path, tmp_path: Path) -> Sweep:
    """Of three runs; the last has no metrics yet."""
    sweep = Sweep.create("demo", [], ["train.seed=0,1,2"], tmp_path / "sweep")
    for run in sweep.runs()[:2]:
        shutil.copytree(finished, run.path)
    return sweep


def assert_refused(ended: Ended, message: str) -> None:
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert re.search(message, ended.err), ended.err


# Without matplotlib.


def test_a_sweep_stands_for_its_runs(finished: Path, sweep: Sweep) -> None:
    found = curves.read_curves([finished, sweep.folder])
    assert [curve.label for curve in found] == ["finished", "seed=0", "seed=1"]
    assert all(curve.rows == RunFolder(finished).read_metrics() for curve in found)


def test_runs_of_the_same_name_are_told_apart(finished: Path, sweep: Sweep) -> None:
    first = sweep.runs()[0].path
    assert [curve.label for curve in curves.read_curves([finished, first, first])] == ["finished", *[str(first)] * 2]


def test_what_cannot_be_drawn(call: Call, finished: Path, sweep: Sweep, tmp_path: Path) -> None:
    waiting = sweep.runs()[2]
    waiting.path.mkdir()
    (waiting.path / "config.yml").write_text((finished / "config.yml").read_text())
    for arguments, message in (
        (["nowhere"], "^error: /.*/nowhere: there is no such folder"),
        ([tmp_path], "not the folder of a run"),
        ([waiting.path], "nothing to draw, as the run has not been evaluated yet"),
        ([finished] * 29, "^error: 29 runs: at most 28 can be told apart"),
        ([finished, "--out", "curves.gif"], r"--out curves\.gif: .* choose from \.png, \.svg, \.pdf"),
        ([finished, "--out", "nowhere/a.png"], r"--out nowhere/a\.png: there is no folder nowhere; make it first"),
    ):
        assert_refused(call(curves.main, *arguments, *([] if "--out" in arguments else ["--out", "a.png"])), message)
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib_it_says_how_to_get_it(
    call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_refused(call(curves.main, finished, "--out", "a.png"), r"pip install -r requirements-plots\.txt")
    assert list(tmp_path.iterdir()) == []


def test_training_never_imports_it() -> None:
    """The one file that does is one that no other imports."""
    folders = ("common", "model", "optim", "data", "training", "verify", "checks")
    sources = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    assert [path.name for path in sources if "matplotlib" in path.read_text()] == ["curves.py"]
    assert not [path for path in sources if re.search(r"import.*\bcurves\b", path.read_text())]


# The picture.


@with_matplotlib
def test_the_lines_are_the_metrics() -> None:
    made = [curves.Curve("first", rows(3)), curves.Curve("second", rows(2))]
    figure = curves.draw(made)
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines] == [
        [2, 1, 2 / 3], [3, 1.5, 1], [2, 1], [3, 1.5],
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in right.lines] == [pytest.approx([51, 52, 53]), pytest.approx([51, 52])]
    assert list(right.lines[0].get_xdata()) == [1, 2, 3]
    colours = [[line.get_color() for line in axes.lines] for axes in (left, right)]
    first, second = curves.COLOURS[:2]
    assert colours == [[first, first, second, second], [first, second]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "second"]
    assert [line.get_linestyle() for line in left.lines] == ["--", "-", "--", "-"]


@with_matplotlib
def test_the_name_of_a_run_is_no_formula_and_no_command_to_a_terminal() -> None:
    names = ["cost $5, then $6", "a$b^{$", "_hidden", "red\x1b[31m"]
    figure = curves.draw([curves.Curve(name, rows(2)) for name in names])
    texts = figure.legends[0].get_texts()
    assert [text.get_text() for text in texts] == [*names[:2], " _hidden", r"red\x1b[31m"]
    assert not any(text.get_parse_math() for text in texts)
    figure.savefig(io.BytesIO())  # a formula with a mistake in it would raise


@with_matplotlib
def test_the_moving_average_has_a_line_of_its_own() -> None:
    averaged = [row._replace(ema_top1=0.75, ema_loss=1.0) for row in rows(2)]
    left, right = curves.draw([curves.Curve("a", averaged), curves.Curve("b", rows(2))]).axes
    assert [line.get_linestyle() for line in right.lines] == ["-", ":", "-"]
    assert list(right.lines[1].get_ydata()) == [75, 75]
    assert [text.get_text() for text in left.get_legend().get_texts()][2:] == ["validation, moving average"]


@with_matplotlib
def test_no_two_runs_look_alike_and_one_point_is_seen() -> None:
    figure = curves.draw([curves.Curve(str(i), rows(2 if i else 1)) for i in range(28)])
    lines = figure.axes[1].lines
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 28
    assert lines[0].get_marker() == curves.POINT


@with_matplotlib
def test_after_one_epoch_the_points_say_what_they_are() -> None:
    averaged = [row._replace(ema_top1=0.25, ema_loss=1.0) for row in rows(1)]
    left, right = curves.draw([curves.Curve("a", averaged)]).axes
    assert [line.get_fillstyle() for line in left.lines] == ["none", "full"]  # training, validation
    assert [line.get_fillstyle() for line in right.lines] == ["full", "bottom"]  # validation, its average
    legend = left.get_legend().get_lines()
    assert [(line.get_marker(), line.get_fillstyle()) for line in legend] == [
        (curves.POINT, kind) for kind in ("none", "full", "bottom")
    ]
    assert all(axes.get_xlim() == (0, 2) and line.get_marker() for axes in (left, right) for line in axes.lines)


@with_matplotlib
def test_the_accuracy_of_a_probe_is_called_so(sweep: Sweep) -> None:
    labels, unlabelled = (run.config_file for run in sweep.runs()[:2])
    unlabelled.write_text(labels.read_text().replace("mask: null", "mask: 0.75"))
    for paths, name in (([labels], "top-1"), ([unlabelled], "probe"), ([labels, unlabelled], "probe or top-1")):
        figure = curves.draw(curves.read_curves([path.parent for path in paths]))
        assert figure.axes[1].get_ylabel() == f"{name} on validation (%)"


@with_matplotlib
def test_what_was_not_evaluated_is_left_out() -> None:
    left, right = curves.draw([curves.Curve("a", rows(2, top1=None))]).axes
    assert (len(left.lines), len(right.lines)) == (2, 0)


@with_matplotlib
@pytest.mark.parametrize("name", ["a.png", "a.SVG"])
def test_the_command_writes_a_picture(call: Call, sweep: Sweep, tmp_path: Path, name: str) -> None:
    ended = call(curves.main, sweep.folder, "--out", name)
    assert (ended.code, ended.out) == (0, f"{name}: 2 runs\n")
    if name == "a.png":
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert image.width > 1000
    else:
        assert "<svg" in (tmp_path / name).read_text()
