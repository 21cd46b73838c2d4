"""The README and the pages of docs/ against the project: what they show, link, run and name exists."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from checks.mutants import load_mutants
from training.presets import preset_names

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = ROOT / "model" / "layers" / "layer_norm.py"
LINES = 130  # three screens

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shell_lines(page: Path) -> list[str]:
    """The commands of a page: lines of its sh blocks, continuations joined, and code in its text."""
    text = text_of(page)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return lines + re.findall(r"`([^`\n]+)`", prose)


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """What `python` is given on a page, and the arguments after it."""
    found = []
    for line in shell_lines(page):
        for command in re.split(r"&&|;|\|", line.partition("#")[0]):
            match = re.match(r"\s*(?:\w+=\S*\s+)?python3?\s+(-m\s+\S+|\S+\.py)(.*)", command)
            if match:
                found.append((match[1], match[2].split()))
    return found


def test_readme_fits_in_three_screens() -> None:
    assert len(text_of(README).splitlines()) <= LINES


def test_readme_shows_a_layer_unedited() -> None:
    block = re.search(r"^```python\n(.*?)^```", text_of(README), re.M | re.S)
    assert block
    shown = [line for line in block[1].splitlines() if line]
    assert shown[0].startswith("def forward(")
    assert any(line.startswith("def backward(") for line in shown)
    code = [line.removeprefix("    ") for line in text_of(SHOWN).splitlines() if line]
    start = code.index(shown[0])
    assert code[start:] == shown, "README.md and model/layers/layer_norm.py differ from `def forward` to the end"


@each_page
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    files = [target.partition("#")[0] for target in targets if not re.match(r"https?:|#", target)]
    missing = [file for file in files if not (page.parent / file).exists()]
    assert not missing


@each_page
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", text_of(page)):
        target = page.parent / file if file else page
        if target.exists():  # a file that is not there is the concern of the test above
            headings = re.findall(r"^#+ (.*)$", text_of(target), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{file}#{anchor}"


@each_page
def test_every_command_runs_a_file_that_exists(page: Path) -> None:
    for program, _ in commands(page):
        if program.startswith("-m"):
            module = program.split()[1]
            if module not in ("pip", "venv", "pytest"):
                assert importlib.util.find_spec(module), program
        else:
            assert (ROOT / program).is_file(), program


@each_page
def test_every_preset_that_is_named_exists(page: Path) -> None:
    for program, arguments in commands(page):
        first = arguments[0] if arguments else "-"
        takes_preset = program in ("train.py", "gradcheck.py", "-m training.preview", "-m benchmarks.eager")
        if takes_preset and re.fullmatch(r"\w+", first):
            assert first in preset_names(), f"{program} {first}"


def test_the_tests_above_see_the_commands_of_the_pages() -> None:
    assert ("train.py", ["tiny_imagenet_cpu"]) in commands(README)
    assert ("-m data.download", ["tiny_imagenet"]) in commands(ROOT / "docs" / "training.md")
    assert sum(len(commands(page)) for page in PAGES) > 50


def test_every_page_is_in_the_table_of_contents() -> None:
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(ROOT / "docs" / "index.md"), re.M | re.S)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(page.stem for page in PAGES[1:]) == sorted([*(name for name in listed if "/" not in name), "index"])


def test_every_file_of_the_tour_exists() -> None:
    tree = re.search(r"^```\n(model/.*?)^```", text_of(ROOT / "docs" / "tour.md"), re.M | re.S)
    assert tree
    path: list[str] = []
    seen = 0
    for line in tree[1].splitlines():
        depth, words = (len(line) - len(line.lstrip())) // 2, line.split()
        for word in words:
            if not re.fullmatch(r"[\w.]+(/|\.py|\.yml)", word):
                break
            assert (ROOT.joinpath(*path[:depth]) / word).exists(), line
            path, seen = [*path[:depth], word], seen + 1
    assert seen > 40


@pytest.mark.parametrize("name", ["model", "learning_curve"])
def test_figures_of_the_readme_are_what_their_scripts_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = load_script(FIGURES / f"{name}.py", monkeypatch).draw()
    assert drawn == text_of(FIGURES / f"{name}.svg"), f"run python docs/figures/{name}.py"
    assert f"docs/figures/{name}.svg" in text_of(README)


@pytest.mark.parametrize("name", ["model", "learning_curve"])
def test_text_of_the_figures_can_be_read(name: str) -> None:
    svg = text_of(FIGURES / f"{name}.svg")
    width = re.search(r'viewBox="0 0 (\d+) \d+"', svg)
    assert width
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', svg)]
    assert min(sizes) * 830 / int(width[1]) >= 11, "where GitHub shows it 830 pixels wide"


def load_script(file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(file.parent)  # for `import svg`, as when it is run
    spec = importlib.util.spec_from_file_location(f"figure_{file.stem}", file)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    sys.modules.pop("svg", None)
    return script


@pytest.mark.parametrize("page", ["README.md", "docs/gradcheck.md"])
def test_the_number_of_planted_mistakes_is_that_of_the_list(page: str) -> None:
    count = len(load_mutants())
    assert f"{count} of {count}" in (ROOT / page).read_text(encoding="utf-8")
