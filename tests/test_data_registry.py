"""The registry: each name of it is a data set that the configuration accepts and that loads, or says how to get it."""

import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from data import registry
from data.cache import cached_dataset
from data.dataset import Dataset, Listing
from data.form import Form
from data.registry import SOURCES
from data.source import Source
from tests.tiny_data import NAMES, WNIDS, write_data_set
from training import options as configured_options
from training.config import from_yaml, load_config
from training.presets import option_comments
from training.setup import load_dataset


def options(name: str, root: Path | None = None) -> list[str]:
    return [f"data.name={name}", "data.workers=1", "model.patch_size=4", *([f"data.root={root}"] if root else [])]


@pytest.mark.parametrize("name", SOURCES)
def test_the_configuration_accepts_each_name(name: str) -> None:
    config = load_config("baseline", options(name))
    assert config.data.folder == Path(SOURCES[name].folder)
    assert from_yaml(config.to_yaml()) == config
    (option,) = (option for option in option_comments() if option.name == "data.name")
    assert name in option.comment


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.download or source.generate])
def test_missing_data_say_how_to_get_them(name: str, tmp_path: Path) -> None:
    config = load_config("baseline", options(name, tmp_path / "nowhere"))
    with pytest.raises(DataError, match=rf"nowhere: .*python -m data\.(download {name}|{name}) --to "):
        load_dataset(config, draw=False, quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_generated_data_are_generated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def generate(root: Path, *, workers: int | None, quiet: bool) -> None:
        calls.append((root, workers, quiet))
        write_data_set(root)

    source = SOURCES["shapes"]._replace(generate=generate)
    monkeypatch.setitem(registry.SOURCES, "shapes", source)
    config = load_config("baseline", options("shapes", tmp_path / "drawn"))
    for _ in range(2):
        dataset = load_dataset(config, quiet=True)
        assert (dataset.class_ids, dataset.class_names) == (WNIDS, NAMES)
    assert calls == [(tmp_path / "drawn", 1, True)]


@pytest.mark.parametrize("name", ["shape", "tiny-imagenet", "x"])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str) -> None:
    told = f"data.name={name}: expected one of {', '.join(SOURCES)}"
    with pytest.raises(ConfigError, match=told):
        load_config("baseline", options(name))
    text = load_config("baseline").to_yaml().replace("name: tiny_imagenet", f"name: {name}")
    with pytest.raises(ConfigError, match=rf"^run/config\.yml: data.name={name}: expected one of"):
        from_yaml(text, source="run/config.yml")


def test_a_data_set_takes_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of data/registry.py, in another layout: everything after the list of files is shared."""
    root = write_data_set(tmp_path / "flowers")

    def load(root: Path, cache: Path | None, workers: int | None, quiet: bool, form: Form) -> Dataset:
        def list_files() -> Listing:
            paths = sorted(str(path.relative_to(root)) for path in root.glob("train/*/images/*.JPEG"))
            labels = [int(path.split("/")[1] == "n03") for path in paths]
            return Listing(("other", "n03"), ("others", "kites"), paths[1:], labels[1:], paths[:1], labels[:1])

        return cached_dataset(root, cache, "the stamp", list_files, workers, quiet, form)

    monkeypatch.setitem(registry.SOURCES, "flowers", Source(folder="datasets/flowers", load=load))
    assert load_config("baseline", ["data.name=flowers"]).data.folder == Path("datasets/flowers")
    config = load_config("baseline", options("flowers", root))
    dataset = load_dataset(config, quiet=True)
    assert dataset.train.images.shape == (11, 8, 8, 3)
    assert np.bincount(dataset.train.labels).tolist() == [7, 4]
    assert (dataset.class_ids, dataset.class_names) == (("other", "n03"), ("others", "kites"))
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint)
    held = load_dataset(load_config("baseline", [*options("flowers", root), "data.holdout=0.25"]), quiet=True)
    assert np.bincount(held.val.labels).tolist() == [2, 1]
    assert held.fingerprint == dataset.fingerprint
    (root / "train" / "n01" / "images" / "n01_1.JPEG").unlink()
    assert load_dataset(config, quiet=True).fingerprint == dataset.fingerprint  # same stamp: from the cache
    assert configured_options.SOURCES is registry.SOURCES
