"""The book against the code: every formula that is cited is derived, and what a page includes exists.

None of this needs Sphinx. That the cells run, and the numbers in them hold, is seen by `make docs`.
"""

import ast
import csv
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from checks.mutants import mutants_by_name
from exercises.__main__ import ITEMS, chapter
from model.vit import ViT
from training import checkpoint
from training.config import load_config
from training.run_folder import Classes, RunFolder

ROOT = Path(__file__).resolve().parent.parent
BOOK = sorted((ROOT / "docs" / "book").glob("*.md"))
PACKAGES = ("model", "optim", "data", "training", "verify", "checks")
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]

PARTS = [
    "What it is for", "Forward", "Derivation", "The code", "By hand", "Check", "Mistakes everyone makes", "Quiz",
    "Recap",
]  # fmt: skip


def tags_of_code() -> set[str]:
    return {tag for file in SOURCES for tag in re.findall(r"\b[A-Z]{2,}\.\d+\b", file.read_text(encoding="utf-8"))}


def tags_of_book() -> list[str]:
    return [tag for page in BOOK for tag in re.findall(r"\\tag\{([^}]*)\}", page.read_text(encoding="utf-8"))]


def test_every_formula_that_the_code_cites_is_in_the_book() -> None:
    missing = tags_of_code() - set(tags_of_book())
    assert not missing, f"cited in the code, but not in docs/book: {sorted(missing)}"


def test_every_formula_of_the_book_is_cited_in_the_code() -> None:
    unused = set(tags_of_book()) - tags_of_code()
    assert not unused, f"in docs/book, but nowhere in the code: {sorted(unused)}"


def test_no_formula_of_the_book_has_the_tag_of_another() -> None:
    tags = tags_of_book()
    assert tags
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("page", BOOK[1:], ids=lambda page: page.stem)  # the first shows everything once
def test_every_chapter_has_the_same_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.M) == PARTS
    assert text.startswith(f"# {int(page.stem[:2])}. ")
    recap = text.partition("## Recap")[2]
    assert len(re.findall(r"^- ", recap, re.M)) == 3


def inclusions() -> Iterator[tuple[Path, Path, str | None]]:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        pattern = r"^```\{literalinclude\} (\S+)\n((?::.*\n)*)"
        for target, options in re.findall(pattern, page.read_text(encoding="utf-8"), re.M):
            wanted = re.search(r"^:pyobject: (\S+)$", options, re.M)
            yield page, (page.parent / target).resolve(), wanted[1] if wanted else None


def test_everything_that_a_page_includes_exists() -> None:
    found = list(inclusions())
    assert found
    for page, target, name in found:
        assert target.is_file(), f"{page.name} includes {target}, which does not exist"
        assert name is None or name in defined_in(target), f"{page.name} includes {name}, not in {target.name}"


def defined_in(file: Path) -> set[str]:
    """Functions, classes, and methods as `Class.method`."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def test_every_link_between_pages_and_files_leads_somewhere() -> None:
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_chapter_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\(book/(\S+)\)", index) == [page.name for page in BOOK]


def test_every_exercise_is_named_in_a_chapter() -> None:
    assert not [name for name in ITEMS if not chapter(name)]


def test_the_chapters_that_are_said_to_name_exercises_do() -> None:
    naming = {int(page.stem[:2]) for page in BOOK if "\n**Now you.**" in page.read_text(encoding="utf-8")}
    for page in ("index.md", "exercises.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        said = re.findall(r"[Cc]hapters (\d+) to (\d+)", text)
        assert said, page
        assert all(set(range(int(first), int(last) + 1)) == naming for first, last in said), page


def test_the_glossary_leads_to_chapters_by_their_numbers() -> None:
    words = (ROOT / "docs" / "notation.md").read_text(encoding="utf-8").partition("## Words")[2].partition("\n## ")[0]
    links = re.findall(r"\[(\d+)\]\(book/(\S+?)\)", words)
    assert links
    assert all(
        page.startswith(f"{int(number):02}-") and (ROOT / "docs" / "book" / page).exists() for number, page in links
    )


@pytest.mark.parametrize("page", BOOK, ids=lambda page: page.stem)
def test_a_chapter_is_cited_by_the_number_that_its_file_has(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    cited = re.findall(r"\[[Cc]hapter\s(\d+)[^\]]*\]\((\d\d)-\S+\)", text)
    assert all(int(number) == int(file) for number, file in cited)
    last = int(BOOK[-1].stem[:2])
    assert all(int(number) <= last for number in re.findall(r"[Cc]hapters?\s(\d+)", text))


def test_every_mistake_that_a_page_plants_is_in_the_list() -> None:
    known = mutants_by_name().keys()
    planted = []
    for page in BOOK:
        for node in ast.walk(ast.Module(cells(page), [])):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "plant":
                file, *mistakes = map(ast.literal_eval, node.args)
                planted += [(file, mistake) for mistake in mistakes]
    assert planted
    assert not set(planted) - known


def test_every_curve_that_a_page_draws_was_measured() -> None:
    script = load_script(ROOT / "docs" / "figures" / "mistakes.py")
    with (ROOT / "docs" / "figures" / "mistakes.csv").open(encoding="utf-8") as file:
        measured = next(csv.reader(file))
    assert measured == ["step", *script.BASES, *script.MISTAKES]
    known = mutants_by_name().keys()
    assert all((file, mistake) in known for _, file, mistake in script.MISTAKES.values())
    for page in BOOK:
        for node in ast.walk(ast.Module(cells(page), [])):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "lab.training":
                names = [ast.literal_eval(name) for name in [*node.args, *(keyword.value for keyword in node.keywords)]]
                assert set(names) <= set(measured), page.name


def test_the_figures_of_trained_models_are_kept_in_a_small_file_that_fits_the_model() -> None:
    file = ROOT / "docs" / "figures" / "trained.npz"
    assert file.stat().st_size < 300_000
    with np.load(file) as kept:
        vit = ViT(**json.loads(str(kept["shapes"]))["model"])
        leaves = jax.tree.leaves(jax.eval_shape(vit.init, jax.random.key(0)))
        assert kept["shapes_params"].size == sum(leaf.size for leaf in leaves)
        assert all(np.isfinite(kept[name]).all() for name in kept.files if name != "shapes")


def test_what_a_run_has_learned_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("demo", ["model.d_model=8", "model.heads=2", "model.layers=1", "model.positions=learned",
                                  "model.pooling=class_token", "model.class_token=true"])  # fmt: skip
    params = config.model.init(jax.random.key(0))
    run = RunFolder.create("demo", tmp_path / "run")
    run.write_config(config)
    run.write_classes(Classes(("a",), ("b",), (0.5,) * 3, (0.2,) * 3, "of no data"))
    checkpoint.save(run.last, {"params": params}, {"progress": {"step": 7}})

    script = load_script(ROOT / "docs" / "figures" / "trained.py")
    monkeypatch.setattr(script, "FILE", tmp_path / "trained.npz")
    for option in ("--shapes", "--tiny-imagenet"):  # the second keeps what the first has written
        monkeypatch.setattr("sys.argv", ["trained.py", option, str(run.path)])
        script.main()
    with np.load(script.FILE) as kept:
        row = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
        np.testing.assert_allclose(kept["shapes_params"], row, rtol=1e-3, atol=1e-6)
        assert kept["tiny_imagenet_step"] == 7
        filters = kept["tiny_imagenet_filters"].reshape(-1, 8 * 8 * 3).astype(float)
        np.testing.assert_allclose(filters @ filters.T, np.eye(len(filters)), atol=1e-2)  # directions, at right angles
        np.testing.assert_allclose(
            kept["tiny_imagenet_positions"], params["position_embedding"]["positions"], rtol=1e-3, atol=1e-6
        )


def test_the_learning_curves_of_the_book_are_those_of_its_script() -> None:
    figures = ROOT / "docs" / "figures"
    script = load_script(figures / "overfitting.py")
    with (figures / "overfitting.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = [(name, str(epoch + 1)) for name in script.RUNS for epoch in range(script.EPOCHS)]
    assert [(row["run"], row["epoch"]) for row in rows] == expected
    with (figures / "overfitting-logits.csv").open(encoding="utf-8") as file:
        images = Counter(row["run"] for row in csv.DictReader(file))
    assert images == dict.fromkeys(script.RUNS, 500)


def test_no_line_of_code_is_wider_than_a_page() -> None:
    """120 characters, as in the sources; where a figure is made, its description may be long."""
    for page in BOOK:
        for source in re.findall(r"^```\{cell\}\n(?!:fold:)(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
            assert not [line for line in source.splitlines() if len(line) > 120], page.name


def cells(page: Path) -> list[ast.stmt]:
    """The statements of all cells of a page."""
    sources = re.findall(r"^```\{cell\}\n(?::fold:\n)?(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [statement for source in sources for statement in ast.parse(source).body]


def load_script(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
