"""Files that are replaced as a whole: the new content or the old one, and nothing else is touched on the way."""

import ast
import errno
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.files import replace_text, replacing
from tests.tiny_runs import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.json"


def test_what_is_planted_under_a_name_that_can_be_guessed_is_left_alone(path: Path) -> None:
    """A link there was followed, and a file of the user's deleted."""
    other = path.with_name("other")
    other.write_text("other")
    mine = [path.with_name(name) for name in (".r.json.partial-mine", ".r.json.partial-", "r.json.tmp")]
    for file in mine:
        file.write_text("mine")
    for name in (".r.json.tmp", ".r.json.partial-abcdefgh"):
        path.with_name(name).symlink_to(other)
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert other.read_text() == "other"
    assert [file.read_text() for file in mine] == ["mine"] * 3
    assert path.with_name(".r.json.tmp").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_stay(path: Path, mode: int) -> None:
    path.touch()
    path.chmod(mode)
    replace_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_text() == "new"


def test_a_new_file_has_the_usual_permissions(path: Path) -> None:
    replace_text(path, "new")
    path.with_name("usual").touch()
    assert path.stat().st_mode == path.with_name("usual").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(path: Path, there: bool) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    if there:
        (folder / "file").write_text("old")
    path.with_name("between").symlink_to(Path("elsewhere") / "file")  # relative to the link
    path.symlink_to(path.with_name("between"))
    replace_text(path, "new")
    assert path.is_symlink()
    assert (folder / "file").read_text() == "new"
    assert [file.name for file in folder.iterdir()] == ["file"]


def test_links_in_a_circle_are_an_error_that_names_the_file(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)) as caught:
        replace_text(path, "new")
    assert caught.value.filename == str(path)


def test_a_pipe_gets_the_bytes_and_stays(path: Path) -> None:
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with replacing(path) as file:
        file.write(b"first")
        file.seek(0)  # as a zip file or a picture does
        file.write(b"F")
    reader.join(timeout=10)
    assert read == ["First"]
    assert path.is_fifo()


def test_a_device_stays(path: Path) -> None:
    before = os.stat("/dev/null")
    replace_text(Path("/dev/null"), "text")
    path.symlink_to("/dev/null")
    replace_text(path, "text")
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="where standard output is no link into /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_to_be_it_a_file_or_a_pipe(name: str, path: Path) -> None:
    program = f"""if True:
        import pathlib
        from common.files import replace_text
        print("before", flush=True)
        replace_text(pathlib.Path({name!r}), "content\\n")
        print("after")
    """
    with open(path, "ab") as file:
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=file, check=True)
    piped = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    assert path.read_bytes() == piped == b"before\ncontent\nafter\n"


def test_two_writers_at_once_give_the_file_of_one_of_them(path: Path) -> None:
    contents = [letter * 50_000 for letter in "ab"]
    replace_text(path, contents[0])
    done = threading.Event()

    def write(content: str) -> None:
        for _ in range(40):
            replace_text(path, content)

    def read() -> Iterator[str]:
        while not done.is_set():
            yield path.read_text()

    writers = [threading.Thread(target=write, args=(content,)) for content in contents * 2]
    odd: list[str] = []
    reader = threading.Thread(target=lambda: odd.extend(text[:9] for text in read() if text not in contents))
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert odd == []
    assert list(path.parent.iterdir()) == [path]


def test_what_another_writer_has_begun_is_not_taken_for_a_leftover(path: Path) -> None:
    with replacing(path) as first:
        first.write(b"first")
        replace_text(path, "second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_writer_leaves_a_file_that_the_next_one_removes(path: Path) -> None:
    program = f"""if True:
        import os, pathlib
        from common.files import replacing
        with replacing(pathlib.Path({str(path)!r})) as file:
            file.write(b"half")
            os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT)
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".r.json.partial-")
    replace_text(path, "whole")
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_everything_as_it_was(path: Path) -> None:
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"%d" % (1 / 0))
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127])
def test_a_name_may_be_as_long_as_names_can_be(path: Path, name: str) -> None:
    replace_text(path.with_name(name), "text")
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_bytes_of_a_file_name_that_are_no_text_are_escaped(path: Path) -> None:
    replace_text(path, '"\udcff"')
    assert path.read_bytes() == rb'"\udcff"'


# No file of the product is written in another way, but for these.

OTHERS = {
    "common/files.py",  # the one way
    "data/build.py", "data/shapes.py", "data/unpack.py",  # in a folder that is renamed when it is whole
    "data/decode.py",  # its rows of an array in such a folder
    "training/checkpoint.py",  # a member of an archive
    "exercises/machinery/workspace.py",  # backups of the reader's, moved as they are
    "data/fetch.py",  # a part of an archive, which the next attempt continues
    "training/metrics.py", "training/step_log.py",  # lines at the end of the file
    "benchmarks/gpu/runner.py",  # the output of a process, while it runs
    "benchmarks/contestants/__main__.py",  # a file of /proc
    "benchmarks/faults/inputs.py", "benchmarks/faults/data_inputs.py", "benchmarks/faults/server.py",  # damage
    "benchmarks/decode.py",  # photographs
}  # fmt: skip
LOGS = {"common/log.py", "vit_environment.py", "common/streams.py", "training/hosts.py"}  # what is printed


def writes(source: str) -> list[int]:
    """The lines that open a file for writing, or rename one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [
                word.value for word in [*node.args, *(k.value for k in node.keywords)] if isinstance(word, ast.Constant)
            ]
            modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+") and len(text) < 4]
            if called in ("open", "fdopen") and any(set(mode) & set("wax+") for mode in modes):
                found.append(node.lineno)
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if called in ("write_text", "write_bytes") or (owner == "os" and called in ("replace", "rename")):
                found.append(node.lineno)
    return found


def test_there_is_one_writer() -> None:
    assert writes("open(p, 'w'); p.open(mode='ab'); p.write_text(t); os.replace(a, b); open(p)") == [1] * 4
    rooms = ("common", "model", "data", "optim", "training", "verify", "checks", "benchmarks", "exercises")
    files = [*ROOT.glob("*.py"), *(file for room in rooms for file in (ROOT / room).rglob("*.py"))]
    found = {str(f.relative_to(ROOT)) for f in files if writes(f.read_text(encoding="utf-8"))}
    assert found - OTHERS - LOGS == set()
