"""Paths that the user names, in every command: homes are found, and what cannot be written is refused at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import evaluate
import gradcheck
import train
from common.errors import UserError
from common.paths import named_path, require_writable
from training import curves, preview, tensorboard
from training.config import load_config

HOME = Path("/the/home")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(HOME))


@pytest.mark.parametrize(
    ("parse", "argv", "name"),
    [
        (train.parse_arguments, ["--run=~/x"], "run"),
        (train.parse_arguments, ["--resume=~/x"], "resume"),
        (train.parse_arguments, ["--config=~/x"], "config"),
        (evaluate.parse_arguments, ["~/x"], "run"),
        (evaluate.parse_arguments, ["--json=~/x"], "json"),
        (gradcheck.parse_arguments, ["--checkpoint=~/x"], "checkpoint"),
        (gradcheck.parse_arguments, ["demo", "--config=~/x"], "config"),
        (gradcheck.parse_arguments, ["demo", "--exhaustive", "--state=~/x"], "state"),
        (gradcheck.parse_arguments, ["--html=~/x"], "html"),
        (preview.parse_arguments, ["--out=~/x.png"], "out"),
        (curves.parse_arguments, ["a", "--out=~/x"], "out"),
        (tensorboard.parse_arguments, ["a", "--logdir=~/x"], "logdir"),
    ],
)
def test_a_home_is_found_in_every_option(parse: Callable[[Sequence[str]], Any], argv: list[str], name: str) -> None:
    """bash expands a tilde at the beginning of a word only, and not in --run=~/x."""
    assert str(getattr(parse(argv), name)).removesuffix(".png") == str(HOME / "x")


def test_a_home_is_found_in_the_configuration() -> None:
    data = load_config("demo", ["data.root=~/x", "data.cache=~/y"]).data
    assert (data.folder, data.cache_folder) == (HOME / "x", HOME / "y")


@pytest.mark.parametrize("text", ["", "a\0b", "~nobody-of-this-name/x"])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"name a file or a folder|there is no such user"):
        named_path(text)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    require_writable("--json", tmp_path / "new.json")
    assert list(tmp_path.iterdir()) == []
    for path, told in ((tmp_path / "a" / "b", "no folder"), (tmp_path, "a folder; name a file"), (Path("/proc/x"), "")):
        with pytest.raises(UserError, match=f"^--json {path}: .*{told}"):
            require_writable("--json", path)


@pytest.mark.parametrize("parse", [train.preset_of, preview.preset_and_overrides])
def test_a_file_of_presets_without_a_preset_is_refused(parse: Callable[[Any], Any], tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("mine:\n  extends: demo\n")
    args = train.parse_arguments(["--config", str(tmp_path / "own.yml"), "train.epochs=1"])
    with pytest.raises(UserError, match=r"own\.yml: name a preset: mine, demo, baseline"):
        parse(args)


def test_the_gradient_check_takes_presets_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yml").write_text("mine:\n  extends: demo\n  model: {d_model: 8, layers: 01}\n")
    args = gradcheck.parse_arguments(["mine", "--config", str(tmp_path / "own.yml")])
    point = gradcheck.load_point(args)
    assert point is not None
    assert (point.model.d_model, point.model.layers) == (8, 1)
    assert f"--config {tmp_path}/own.yml" in gradcheck.command_line(args)
    for argv in (["--config", "own.yml"], ["--checkpoint", "run", "--config", "own.yml"]):
        with pytest.raises(SystemExit):
            gradcheck.parse_arguments(argv)
        assert "--config holds presets: name one of them" in capfd.readouterr().err
