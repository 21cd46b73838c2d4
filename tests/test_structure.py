"""The house: which room may know of which, no two files that import each other, and no file too long to be read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_runs import ROOT

# Arrows point downwards only. A room may import itself and those that are named.
GROUND = {"common", "vit_environment"}
PARTS = {"model", "data", "optim"}
ROOMS: dict[str, set[str]] = {
    "vit_environment": set(),
    "common": set(),
    "model": set(),
    "optim": {"model"},
    "data": GROUND,
    "training": GROUND | PARTS,
    "verify": GROUND,  # checks any function: it knows nothing of this model
    "checks": GROUND | PARTS | {"training", "verify"},
    "exercises": GROUND | PARTS | {"training", "verify", "checks"},
    "benchmarks": GROUND | PARTS | {"training", "verify", "checks"},
    "studio": GROUND | PARTS | {"training", "verify", "checks"},
    "commands": GROUND | PARTS | {"training", "verify", "checks"},
}
COMMANDS = ("train.py", "evaluate.py", "predict.py", "gradcheck.py")
LONGEST = 300  # lines of a file
FILES = sorted(
    [ROOT / name for name in (*COMMANDS, "vit_environment.py")]
    + [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if file.relative_to(ROOT).parts[0] == room]
)


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imported(source: str) -> Iterator[str]:
    """The files of the project that a file imports, wherever in it, as names of modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES:
                    yield inner
                elif node.module in MODULES:
                    yield node.module


IMPORTS = {module: set(imported(file.read_text(encoding="utf-8"))) for module, file in MODULES.items()}


def room_of(module: str) -> str:
    return "commands" if f"{module}.py" in COMMANDS else module.partition(".")[0]


def wrong_way(imports: dict[str, set[str]]) -> list[str]:
    """Imports that no arrow allows."""
    return [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room_of(other) not in ROOMS[room_of(module)] | {room_of(module)}
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Files that import each other in a circle, the first also last; nothing if there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(imports.get(module, ())):
            found = visit(other, [*path, module])
            if found:
                return found
        done.add(module)
        return []

    return next((found for module in sorted(imports) if (found := visit(module, []))), [])


def test_arrows_point_downwards() -> None:
    assert wrong_way(IMPORTS) == []


def test_no_two_files_import_each_other() -> None:
    assert circle(IMPORTS) == []


def test_the_tests_above_can_fail() -> None:
    assert {"model.layers.dense", "model.combinators"} <= IMPORTS["model.vit"]
    assert {"training.step", "training.dispatches"} <= IMPORTS["training.trainer"]
    assert set(imported("def f():\n    from model import vit")) == {"model.vit"}
    assert wrong_way({"model.vit": {"training.step"}}) == ["model.vit imports training.step"]
    assert wrong_way({"verify.check": {"model.vit"}, "train": {"verify"}}) == ["verify.check imports model.vit"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize(("name", "lines"), [("gradcheck.py", 150), ("model/one_page.py", 150)])
def test_some_files_are_a_page(name: str, lines: int) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= lines


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {str(f.relative_to(ROOT)): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {name: count for name, count in lengths.items() if count > LONGEST} == {}
    assert len(lengths) > 100
