"""The requirements files, against what the files of the project import."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator

import pytest

from tests.tiny_runs import ROOT

CHECKED = ("common", "model", "data", "optim", "training", "verify", "checks", "benchmarks", "exercises", "studio")
IMPORTED_AS = {"pyyaml": "yaml", "pillow": "PIL"}  # where the name of a package is not that of its module


def required(file: str) -> set[str]:
    """The modules of the packages in a requirements file."""
    names = re.findall(r"^([\w-]+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return {IMPORTED_AS.get(name, name) for name in names}


def third_party() -> Iterator[tuple[str, str]]:
    """Each file of the product, with each package of others that it imports."""
    own = {path.name for path in ROOT.iterdir() if path.is_dir()} | {path.stem for path in ROOT.glob("*.py")}
    files = [*ROOT.glob("*.py"), *(file for room in CHECKED for file in (ROOT / room).rglob("*.py"))]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names - {""}:
                yield str(file.relative_to(ROOT)), name


def test_types_are_checked_alike_whether_an_optional_package_is_installed_or_not() -> None:
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["overrides"]
    skipped = {
        module.removesuffix(".*")
        for override in overrides
        if override.get("follow_imports") == "skip" and override.get("ignore_missing_imports")
        for module in override["module"]
    }
    optional = {name for _, name in third_party()} - required("requirements.txt")
    some = {"torch", "optax", "flax", "matplotlib", "tensorboardX", "streamlit"}
    assert some <= optional  # what the next line is about
    assert optional - skipped == set()


@pytest.mark.parametrize("file", ["requirements.txt"])
def test_what_is_required_is_imported(file: str) -> None:
    assert required(file) - {name for _, name in third_party()} == set()
