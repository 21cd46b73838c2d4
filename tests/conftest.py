"""Shared by all tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache as compiled

from common import files
from common.command import run_command
from data import shapes
from data.tiny_imagenet import load
from tests.tiny_runs import ROOT, TINY, start_python

# Tests compile hundreds of small functions once each: the compiler's time is what they spend, not the program's.
# Without fusion in MLIR and without splitting each program among threads, XLA compiles in less than half the time.
# What is set in the environment holds for the processes that tests start, too.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
FAST_COMPILER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def set_fast_compiler() -> None:
    """Add FAST_COMPILER to XLA_FLAGS, before this process compiles anything, unless this version of XLA refuses it.

    XLA ends the process at a flag that it does not know, so another process tries first.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if FAST_COMPILER in flags:  # a worker of pytest-xdist has it from the process that started it
        return
    environment = os.environ | {"XLA_FLAGS": f"{flags} {FAST_COMPILER}".strip()}
    trial = [sys.executable, "-c", "import jax; jax.devices('cpu')"]
    if subprocess.run(trial, env=environment, capture_output=True).returncode == 0:
        os.environ["XLA_FLAGS"] = environment["XLA_FLAGS"]


set_fast_compiler()

# Started in the background of a script, a process inherits that it ignores Ctrl-C, and under nohup that it ignores a
# closed terminal, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision for one test; a file asks for it with `pytestmark = pytest.mark.usefixtures("float64")`."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


# The commands. What is slow to make is made once for all processes of a parallel run.


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all pytest-xdist workers of this session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def shapes_root(shared: Path) -> Path:
    """The shapes data set with 48 training and 36 validation images, decoded. Not to be written to."""
    root = shared / "shapes"
    with files.locked(shared / "shapes.lock"):
        shapes.generate(root, train_per_class=4, val_per_class=3, workers=1, quiet=True)
        load(root, workers=1, quiet=True)
    return root


@pytest.fixture(scope="session")
def tiny(shapes_root: Path) -> tuple[str, ...]:
    """Arguments of train.py for a run of seconds, TINY, on that data set."""
    return (*TINY, f"data.root={shapes_root}")


@pytest.fixture(scope="session")
def programs(shared: Path) -> Path:
    """A folder of compiled programs, for all processes that train or evaluate a tiny run."""
    return shared / "programs"


@pytest.fixture(scope="session", autouse=True)
def keep_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A program that several tests build anew is compiled once by each worker of pytest-xdist.

    Each has a folder of its own: JAX writes a program in place, where another could read half of it.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.getbasetemp() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="session")
def finished(shared: Path, tiny: tuple[str, ...], programs: Path) -> Path:
    """The folder of a tiny run that nothing interrupted. Not to be written to."""
    run = shared / "finished"
    with files.locked(shared / "finished.lock"):
        if not run.exists():
            partial = shared / "partial"
            arguments = (ROOT / "train.py", *tiny, "--device", "cpu", "--run", partial)
            with start_python(*arguments, cache=programs, cwd=shared) as process:
                out, err = process.communicate(timeout=300)
            assert process.returncode == 0, out + err
            partial.rename(run)
    return run


@pytest.fixture
def studio_folder(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, an empty one, for what the studio begins, which takes compiled programs from `programs`. No
    job outlives the test."""
    from studio import jobs  # here, as few tests need it

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(programs))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    yield tmp_path
    for job in jobs.all_jobs():
        if job.is_running():
            os.kill(int((job.folder / jobs.PID).read_text().split()[0]), signal.SIGKILL)


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """`call(main, *argv)` runs a command within this process, in an empty folder, without waiting for a Python."""

    def call(main: Callable[[Sequence[str]], int | None], *argv: str | Path) -> Ended:
        capfd.readouterr()
        code = run_command(main, list(map(str, argv)))
        return Ended(code, *capfd.readouterr())

    monkeypatch.chdir(tmp_path)
    options = {"jax_compilation_cache_dir": str(programs), "jax_persistent_cache_min_compile_time_secs": 0.0}
    before = {name: getattr(jax.config, name) for name in [*options, "jax_default_device", "jax_enable_x64"]}
    for name, value in options.items():
        jax.config.update(name, value)
    compiled.reset_cache()
    yield call
    for name, value in before.items():
        jax.config.update(name, value)
    compiled.reset_cache()
