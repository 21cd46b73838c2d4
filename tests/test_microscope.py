"""The microscope: its engine against model/one_page.py, and a tour of its page, in a browser where there is one."""

import html
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from checks.mutants import mutants_by_name, planted
from data.shape_drawing import CLASSES
from model.one_page import vit_forward
from tests.tiny_runs import ROOT, docs_on_path
from training import checkpoint
from training.config import load_config
from training.run_folder import Classes, RunFolder

PAGE = ROOT / "docs" / "static" / "microscope"
BOOK = sorted((ROOT / "docs" / "book").glob("*.md"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def microscope() -> Iterator[ModuleType]:
    with docs_on_path():
        yield importlib.import_module("microscope")


@pytest.fixture(scope="module")
def built(microscope: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with all of its data, as it lies in the book."""
    folder = tmp_path_factory.mktemp("microscope")
    microscope.build(folder)
    return folder


def seen_in_browser(page: str, profile: Path, width: int = 1280) -> str:
    """What the page has written into its element `verdict`."""
    assert BROWSER
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
               f"--window-size={width},900", "--dump-dom", page]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False).stdout
    verdict = re.search(r'<pre id="verdict"[^>]*>(.*?)</pre>', shown, re.S)
    return html.unescape(verdict[1]) if verdict else f"no verdict: {shown[-500:]}"


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_the_engine_of_the_page_computes_what_one_page_py_computes(built: Path, tmp_path: Path) -> None:
    """Every tensor, 200 nudges, the terms of every cell, and what each mistake spoils in each of three pictures."""
    verdict = seen_in_browser(f"{(built / 'index.html').as_uri()}#selftest", tmp_path)
    assert verdict.startswith("SELFTEST OK"), verdict


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_tour_of_the_page_meets_no_error(built: Path, tmp_path: Path, width: int) -> None:
    """It clicks whatever there is, counts the work that an action makes, and goes back to addresses, one with steps."""
    verdict = seen_in_browser(f"{(built / 'index.html').as_uri()}#tour", tmp_path, width)
    assert verdict.startswith("TOUR OK"), verdict


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_the_figures_that_can_be_moved_draw_themselves(built: Path, tmp_path: Path) -> None:
    kinds = [kind for page in BOOK for kind in re.findall(r'data-piece="(\w+)"', page.read_text(encoding="utf-8"))]
    assert len(kinds) == len(set(kinds)) >= 5
    places = "".join(f'<div class="piece" data-piece="{kind}"></div>' for kind in kinds)
    script = """for (const piece of document.querySelectorAll(".piece")) {
        const before = piece.querySelector(".drawn").innerHTML, slider = piece.querySelector("input");
        slider.value = slider.max, slider.dispatchEvent(new Event("input", { bubbles: true }));
        const after = piece.querySelector(".drawn").innerHTML;
        document.getElementById("verdict").append(`${before !== after && !/NaN|undefined/.test(before + after)} `);
    }"""
    page = built / "figures.html"
    page.write_text(f'{places}<pre id="verdict"></pre><script src="vit.js"></script><script src="pieces.js"></script>'
                    f"<script>{script}</script>", encoding="utf-8")  # fmt: skip
    verdict = seen_in_browser(page.as_uri(), tmp_path)
    page.unlink()
    assert verdict.split() == ["true"] * len(kinds)


def test_every_link_into_the_page_names_a_tensor_that_it_shows(built: Path) -> None:
    text = (built / "selftest-data.js").read_text(encoding="utf-8")
    tensors = next(iter(json.loads(text.removeprefix("const SELFTEST = ").rstrip(";\n"))["tensors"].values()))
    pages = [*BOOK, ROOT / "docs" / "index.md", ROOT / "docs" / "teaching.md"]
    tabs = re.search(r"const TABS = \{(.*?)\}", (PAGE / "experiments.js").read_text(encoding="utf-8"))
    assert tabs
    links = [
        link
        for page in pages
        for link in re.findall(r'href="[^"]*microscope/index\.html([^"]*)"', page.read_text(encoding="utf-8"))
    ]
    assert len(links) >= 10
    listed = re.search(r"const MISTAKES = \[(.*?)\];", (PAGE / "vit.js").read_text(encoding="utf-8"), re.S)
    assert listed
    mistakes = re.findall(r'"(.*?)"', listed[1])
    for link in filter(None, links):
        asked = dict(part.split("=") for part in link.removeprefix("#").split("&"))
        assert asked.keys() <= {"t", "c", "model", "mistake", "off", "tab"}, link
        folder, slash, last = asked["t"].rpartition("/")
        assert tensors.keys() & {asked["t"], f"{folder}{slash}d{last}"}, link  # a parameter is there as its gradient
        assert re.fullmatch(r"\d+(,\d+)*", asked["c"])
        assert asked.get("model", "untrained") == "untrained"
        assert int(asked.get("mistake", "0")) < len(mistakes)
        assert asked.get("off", "norm") in ("attention", "residual", "norm", "positions")
        assert f"{asked.get('tab', 'nudge')}:" in tabs[1]


def test_the_page_and_its_data_are_small_and_nothing_comes_from_elsewhere(built: Path) -> None:
    files = [file for file in built.iterdir() if file.name != "selftest-data.js"]
    assert sum(file.stat().st_size for file in files) < 250_000
    for file in files:
        assert not re.findall(r"https?://", file.read_text(encoding="utf-8")), file.name


def test_what_the_page_quotes_is_in_the_sources(microscope: ModuleType, built: Path) -> None:
    import tags

    text = (built / "data.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("const DATA = ").rstrip(";\n"))
    source = (ROOT / data["python"]).read_text(encoding="utf-8").splitlines()
    assert data["tags"].keys() == microscope.wanted_tags()
    for tag, about in data["tags"].items():
        assert "<math" in about["formula"]
        assert (ROOT / "docs" / "book" / f"{about['page']}.md").is_file()
        for name in about["exercises"].split():
            assert (ROOT / "exercises" / f"{name}.py").is_file()
        quoted = [line for lines in about["lines"].values() for line in lines]
        assert quoted, tag
        for number, code in quoted:
            assert code in source[number - 1]
            assert tag in tags.cited(source[number - 1].partition("  # ")[2])


def test_its_mistakes_are_mutants_of_one_page_py(microscope: ModuleType) -> None:
    import microscope_dump

    listed = re.search(r"const MISTAKES = \[(.*?)\];", (PAGE / "vit.js").read_text(encoding="utf-8"), re.S)
    assert listed
    assert tuple(re.findall(r'"(.*?)"', listed[1])) == microscope_dump.MISTAKES
    known = {mistake for file, mistake in mutants_by_name() if file == "model/one_page.py"}
    assert set(microscope_dump.MISTAKES) | set(microscope_dump.OF_A_BATCH) <= known
    assert len(microscope_dump.MISTAKES) >= 6


def test_the_mistakes_that_it_leaves_out_do_not_show_in_one_image(microscope: ModuleType) -> None:
    import microscope_dump

    with jax.enable_x64(True), np.load(microscope.KEPT) as kept:
        params = jax.tree.map(jnp.asarray, microscope.tree_of(kept["trained"].astype(float)))
        image, label = kept["images"][0] / 255, int(kept["labels"][0])
        right = microscope_dump.tensors(params, image, label)
        for mistake in microscope_dump.OF_A_BATCH:
            with planted(mutants_by_name()["model/one_page.py", mistake]):
                assert not microscope_dump.changed(right, microscope_dump.tensors(params, image, label))


def test_its_parameters_are_those_of_a_trained_model(microscope: ModuleType) -> None:
    right = dict.fromkeys(("trained", "untrained"), 0)
    with jax.enable_x64(True), np.load(microscope.KEPT) as kept:
        about, labels = json.loads(str(kept["about"])), kept["labels"]
        images = (kept["images"] / 255 - about["mean"]) / about["std"]
        for name in right:
            tree = microscope.tree_of(kept[name].astype(float))
            row = np.concatenate([part.ravel() for part in microscope.flat_parameters(tree).values()])
            np.testing.assert_array_equal(row, kept[name])
            for image, label in zip(images, labels, strict=True):
                _, (*_, p, _) = vit_forward(tree, image[None, :, :, None], np.array([label]), 4, microscope.MODEL.heads)
                right[name] += int(np.argmax(p)) == label
    assert len(labels) == 12
    assert right["trained"] >= 10 > right["untrained"]
    assert microscope.KEPT.stat().st_size < 40_000


def documented_options(script: ModuleType) -> list[str]:
    """Those of the command in docs/microscope.py that trains the model."""
    words = str(script.__doc__).partition("train.py demo ")[2].partition("--run")[0]
    return words.replace("\\\n", " ").split()


def run_with(script: ModuleType, folder: Path, overrides: list[str]) -> RunFolder:
    """A run as training leaves it, with the parameters that are kept."""
    run, ids = RunFolder.create("demo", folder), tuple(CLASSES)[:6]
    run.write_config(load_config("demo", overrides))
    with np.load(script.KEPT) as kept:
        about, params = json.loads(str(kept["about"])), script.tree_of(kept["trained"])
    names = tuple(CLASSES[class_id] for class_id in ids)
    run.write_classes(Classes(ids, names, (about["mean"],), (about["std"],), "fingerprint"))
    checkpoint.save(run.best, {"params": params}, {"step": 8})
    return run


def test_keep_writes_the_parameters_of_a_run_and_the_pictures(
    microscope: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with(microscope, tmp_path / "run", documented_options(microscope))
    with np.load(microscope.KEPT) as kept:
        expected = dict(kept)
    monkeypatch.setattr(microscope, "KEPT", tmp_path / "kept.npz")
    microscope.keep(str(run.path))
    with np.load(microscope.KEPT) as kept:
        assert kept.keys() == expected.keys()
        untrained = expected.pop("untrained")  # which depends a little on how the machine rounds
        np.testing.assert_allclose(kept["untrained"], untrained, atol=1e-6)
        for name, value in expected.items():
            np.testing.assert_array_equal(kept[name], value, err_msg=name)


def test_keep_refuses_another_model(microscope: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["model.layers=3" if option == "model.layers=2" else option for option in documented_options(microscope)]
    run = RunFolder.create("demo", tmp_path / "run")
    config = load_config("demo", options)
    run.write_config(config)
    run.write_classes(Classes(("disc",), ("disc",), (0.5,), (0.2,), "fingerprint"))
    checkpoint.save(run.best, {"params": config.model.init(jax.random.key(0))}, {"step": 8})
    monkeypatch.setattr(microscope, "KEPT", tmp_path / "kept.npz")
    with pytest.raises(SystemExit, match="not the model of this page"):
        microscope.keep(str(run.path))
    assert not microscope.KEPT.exists()
