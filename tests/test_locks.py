"""The lock between processes: one holder, who is known; waiting or refusing; gone with its holder."""

import errno
import io
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import files
from common.files import LockedError, locked

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock until its input ends."""
    program = f"""
        import pathlib, sys
        from common.files import locked
        with locked(pathlib.Path({str(lock)!r})) as supported:
            print(supported, flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        yield process
        process.kill()


def test_refusing_names_the_holder(lock: Path, holder: subprocess.Popen[bytes]) -> None:
    for _ in range(2):  # the first refusal leaves the lock and its record as they were
        with pytest.raises(LockedError, match=f"process {holder.pid}") as caught, locked(lock, wait=False):
            pytest.fail("two processes hold the lock")
        assert caught.value.holder == holder.pid


def test_waiting_ends_when_the_holder_leaves(
    lock: Path, holder: subprocess.Popen[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert holder.stdin is not None
    release = threading.Timer(0.3, holder.stdin.close)
    release.start()
    with locked(lock, "waiting for the other process") as supported:
        assert supported
        assert holder.wait(timeout=30) == 0  # not before
        assert lock.read_text() == f"{os.getpid()}\n"
    release.join()
    assert capfd.readouterr().err == "waiting for the other process\n"


def test_a_killed_holder_leaves_no_lock(lock: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    with locked(lock, wait=False) as supported:
        assert supported
    assert lock.read_text() == f"{os.getpid()}\n"


def test_a_free_lock_prints_nothing(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # the file of the first time does not stand in the way
        with locked(lock, "waiting"):
            pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "no number\n", "9" * 5000, " " * 5_000_000, "1" * 11])
def test_an_unknown_holder(lock: Path, holder: subprocess.Popen[bytes], content: str) -> None:
    lock.write_text(content)
    with pytest.raises(LockedError, match="process unknown") as caught, locked(lock, wait=False):
        pass
    assert caught.value.holder is None


@pytest.mark.parametrize("wait", [True, False])
def test_a_system_without_locks_is_told_apart(lock: Path, monkeypatch: pytest.MonkeyPatch, wait: bool) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patch:
        patch.setattr(files.fcntl, "flock", unsupported)
        with locked(lock, wait=wait) as supported:
            assert not supported
    monkeypatch.setattr(files, "fcntl", None)
    with locked(lock, wait=wait) as supported:
        assert not supported


class FileOnFullDisk(io.FileIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_does_not_prevent_locking(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "open", lambda path, mode, buffering: FileOnFullDisk(path, "a+"), raising=False)
    with locked(lock, wait=False) as supported:
        assert supported
        assert lock.read_bytes() == b""  # the process id could not be written
        monkeypatch.undo()
        with pytest.raises(LockedError), locked(lock, wait=False):
            pass


def test_the_ground_floor_imports_only_the_standard_library_and_tqdm() -> None:
    code = (
        "import pkgutil, sys, importlib, common\n"
        "for module in pkgutil.iter_modules(common.__path__): importlib.import_module('common.' + module.name)\n"
        "files = [name for name, module in sys.modules.items() if getattr(module, '__file__', None)]\n"
        "loaded = {name.partition('.')[0] for name in files}\n"
        "print(*sorted(loaded - sys.stdlib_module_names))"
    )
    output = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path = {sys.path!r}\n{code}"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert set(output) <= {"common", "tqdm"}
