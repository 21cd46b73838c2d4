"""What is said before anything is imported: an old Python, packages that are missing, modules of somebody else."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import vit_environment

import pytest

from tests.tiny_runs import ROOT

SCRIPTS = ("train.py", "evaluate.py", "predict.py", "gradcheck.py")
SIGNPOST = Path("model/weights/__main__.py")  # needs nothing, as it only hands the command on
# Those with commands, and those that need others.
PACKAGES = ("data", "training", "checks", "exercises", "studio", "benchmarks")


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Python without the packages that are installed (-S)."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "command", ["train.py", "evaluate.py --help", "gradcheck.py", "-m exercises", "-m training.preview",
                "-m data.download", "-m benchmarks.gpu.half"]
)  # fmt: skip
def test_missing_packages_are_one_sentence_from_every_command(command: str) -> None:
    ended = run(*command.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    venv = ROOT / ".venv"  # by make
    made = (venv / "installed").exists() and not sys.executable.startswith(str(venv))
    assert ended.stderr == f"error: jax, numpy, pyyaml, pillow, tqdm: missing in {sys.executable}; " + (
        "use .venv/bin/python, where `make` has installed them\n"
        if made
        else f"install them with {sys.executable} -m pip install -r requirements.txt\n"
    )


def test_every_command_looks_for_packages_before_it_imports_them() -> None:
    for name in SCRIPTS:
        imports = [node for node in ast.parse(text(name)).body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = [n.names[0].name if isinstance(n, ast.Import) else str(n.module) for n in imports]
        first = next(module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names)
        assert first == "vit_environment", name
    commands = [file.relative_to(ROOT) for file in ROOT.glob("*/**/*.py") if "__main__" in file.read_text("utf-8")]
    elsewhere = ("tests", "docs", "build")
    commands = [file for file in commands if file.parts[0] not in elsewhere and file.parts[0][0] != "."]
    assert len(commands) > 15
    for file in commands:
        assert file.parts[0] in PACKAGES or file == SIGNPOST, file
    for package in PACKAGES:
        assert "\nimport vit_environment\n\nvit_environment.require_own(" in text(f"{package}/__init__.py"), package


@pytest.mark.parametrize("file", ["vit_environment.py", *SCRIPTS, *(f"{package}/__init__.py" for package in PACKAGES)])
def test_an_old_python_can_read_what_it_must_read(file: str) -> None:
    ast.parse(text(file), feature_version=(3, 6))


def test_an_old_python_is_told_so() -> None:
    code = "import sys; sys.version_info = (3, 10, 13); sys.argv = {}; import vit_environment"
    command, library = run("-c", code.format(["-m"])), run("-c", code.format(["mine.py"]))
    message = f"Python 3.11 or newer is needed, and {sys.executable} is 3.10: install a newer one, and for it the "
    assert (command.returncode, command.stderr) == (2, f"error: {message}packages of requirements.txt\n")
    assert library.stderr.splitlines()[-1] == f"ImportError: {message}packages of requirements.txt"


def test_packages_that_are_missing_or_too_old_are_named_as_pip_names_them() -> None:
    found = vit_environment.missing_packages("# jax>=99\nnumpy>=1000.0\nno-such-package>=1\npyyaml>=6.0\npillow\n")
    assert found[0].startswith("numpy 1000.0 or newer (not ")
    assert found[1:] == ["no-such-package"]
    assert vit_environment.missing_packages(text("requirements.txt")) == []


@pytest.mark.parametrize(
    ("theirs", "package"),
    [("data/__init__.py", "training"), ("common/__init__.py", "data"), ("model.py", "exercises")],
)
def test_a_package_of_ones_own_that_hides_ours_is_named(theirs: str, package: str, tmp_path: Path) -> None:
    file = tmp_path / theirs
    file.parent.mkdir(exist_ok=True)
    file.touch()
    ended = run("-c", f"import {package}", cwd=tmp_path)
    name, hiding = theirs.partition("/")[0].removesuffix(".py"), file.parent if "/" in theirs else file
    assert ended.stderr.splitlines()[-1] == (
        f"ImportError: {hiding.resolve()} hides {ROOT / name}, which {package} of this project imports: "
        f"rename yours, or put {ROOT} at the front of sys.path"
    )


def test_a_folder_that_is_no_package_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert run("-c", "import training", cwd=tmp_path).stderr == ""


def test_who_needs_none_of_it_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "training.py").touch()
    assert run("-c", "import data", cwd=tmp_path).stderr == ""


@pytest.mark.parametrize("kind", ["wheel", "editable", "sdist"])
def test_pip_install_says_how_to_use_the_project_instead(kind: str) -> None:
    system = tomllib.loads(text("pyproject.toml"))["build-system"]
    assert system["requires"] == []  # so that nothing is downloaded for the message
    backend = importlib.import_module(system["build-backend"])
    for hook in (f"get_requires_for_build_{kind}", f"build_{kind}"):
        with pytest.raises(
            SystemExit, match=r"(?s)not installed\..*pip install -r requirements\.txt.*PYTHONPATH"
        ) as ended:
            getattr(backend, hook)({})
        assert max(map(len, str(ended.value).splitlines())) < 75  # pip indents it


def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")
