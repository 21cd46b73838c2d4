"""From a folder of images to an evaluated model, by the commands; and the data set that docs/data.md adds."""

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import evaluate
import train
from data import registry
from tests.conftest import Ended
from tests.test_image_folder import write_folder
from tests.tiny_data import jpeg
from tests.tiny_runs import ROOT
from training import preview
from training.config import load_config
from training.setup import load_dataset

Call = Callable[..., Ended]
TINY = (
    "image_folder", "data.workers=1", "model.image_size=8", "model.patch_size=4", "model.d_model=8", "model.heads=2",
    "model.layers=1", "model.mlp_dim=8", "optim.name=adamw", "optim.ema=null", "train.batch_size=8", "train.epochs=1",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = write_folder(tmp_path / "my photos", {"a b": 12, "100%": 12, "一": 12, "evil\x1b[31m": 1})
    (root / "a b" / "notes.txt").touch()
    return root


def test_a_folder_becomes_an_evaluated_model(call: Call, photos: Path, tmp_path: Path) -> None:
    ended = call(train.main, *TINY, f"data.root={photos}", "--run", "run", "--brief")
    assert ended.code == 0, ended.err
    for line in (
        "        8x8 pixels with 3 channels",
        "note    no images, and left alone: 1 .txt",
        r"note    class without an image to spare for validation: evil\x1b[31m",
    ):
        assert line in ended.out.splitlines()
    assert "\x1b[31m" not in ended.out + ended.err
    assert re.search(r"\d+ training images held out \(data\.holdout=0\.1\)", ended.out)
    config = yaml.safe_load((tmp_path / "run" / "config.yml").read_text())
    assert [config["model"][key] for key in ("image_size", "channels", "num_classes")] == [8, 3, 4]
    assert config["data"]["holdout"] == 0.1
    evaluated = call(evaluate.main, "run")
    assert evaluated.code == 0, evaluated.err
    assert "held out (data.holdout=0.1)" in evaluated.out
    assert "\x1b" not in evaluated.out
    (photos / "100%" / "new.jpg").write_bytes(jpeg(99))
    assert "not the images that run was trained with" in call(evaluate.main, "run").err
    assert "not the data of run" in call(train.main, "--resume", "run", "train.epochs=2").err


def test_a_broken_image_stops_it_before_there_is_a_run(call: Call, photos: Path, tmp_path: Path) -> None:
    (photos / "一" / "broken.jpg").write_bytes(jpeg(1)[:-30])
    ended = call(train.main, *TINY, f"data.root={photos}", "--run", "run")
    assert (ended.code, (tmp_path / "run").exists()) == (2, False)
    assert ended.err.splitlines()[-1].startswith(f"error: {photos}/一/broken.jpg: not an intact image")
    ended = call(train.main, *TINY, f"data.root={photos}", "--run", "run", "data.broken=skip")
    assert ended.code == 0, ended.err
    assert "note    broken, and left out (data.broken=skip): 一/broken.jpg: not an intact image" in ended.out


def test_a_last_test_on_another_folder(call: Call, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for split, count in (("train", 12), ("test", 5)):
        write_folder(root, {"a": count, "b": count}, split)
    run = call(train.main, *TINY, f"data.root={root}", "--run", "run", "--brief", "data.holdout=0.3")
    assert run.code == 0, run.err
    tested = call(evaluate.main, "run", "data.val_folder=test")
    assert "on 10 validation images" in tested.out
    assert tested.err == ""


def test_summary_asks_for_what_only_the_data_know(call: Call, photos: Path) -> None:
    ended = call(train.main, "image_folder", "--summary")
    assert ended.code == 2
    assert ended.err.endswith("say what they have, for example model.channels=3 model.num_classes=10\n")
    assert call(train.main, "image_folder", "--summary", "model.channels=3", "model.num_classes=10").code == 0


def test_the_preview_shows_them(call: Call, photos: Path, tmp_path: Path) -> None:
    options = [*TINY, f"data.root={photos}", "--out", tmp_path / "grid.png", "--rows", "2", "--columns", "2"]
    assert call(preview.main, *options).code == 0
    assert (tmp_path / "grid.png").exists()


def test_the_data_set_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    flowers = types.ModuleType("data.flowers")
    exec(compile(code, "data/flowers.py", "exec"), flowers.__dict__)
    monkeypatch.setitem(sys.modules, "data.flowers", flowers)
    monkeypatch.setitem(registry.SOURCES, "flowers", flowers.SOURCE)
    root = tmp_path / "flowers"
    root.mkdir()
    names = [f"{number}.jpg" for number in range(30)]
    for number, name in enumerate(names):
        (root / name).write_bytes(jpeg(number))
    (root / "labels.csv").write_text("".join(f"{name},{'rose' if i % 3 else 'lily'}\n" for i, name in enumerate(names)))
    options = ["data.name=flowers", f"data.root={root}", "data.workers=1", "model.image_size=null"]
    dataset = load_dataset(load_config("image_folder", options), quiet=True)
    assert dataset.class_names == ("lily", "rose")
    assert np.bincount(np.concatenate([dataset.train.labels, dataset.val.labels])).tolist() == [10, 20]
    assert len(dataset.val.labels) >= 2
