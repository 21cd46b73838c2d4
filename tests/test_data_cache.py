"""The cache: found again, rebuilt when its source changes, and whole or absent whatever happens to a build."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common import files
from common.errors import DataError
from data import build as building
from data import cache as caching
from data.dataset import Dataset, Listing
from data.decode import decode_chunk
from data.form import Target
from data.scan import File, Scan, stamp
from data.tiny_imagenet import load
from tests.tiny_data import jpeg, write_data_set

REPOSITORY = Path(__file__).resolve().parent.parent
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "tiny")


def read(root: Path, cache: Path | None = None) -> Dataset:
    return load(root, cache=cache, workers=1, quiet=True)


def builds(root: Path) -> dict[str, int]:
    """The builds in the cache folder, whole or not, with the time of their making."""
    return {path.name: path.stat().st_mtime_ns for path in (root / "cache").glob("v*")}


def test_a_valid_cache_is_used_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(root)
    monkeypatch.setattr(caching, "write_build", lambda *_: pytest.fail("built again"))
    second = read(root)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.val.labels, second.val.labels)
    assert first[2:] == second[2:]


def rewrite(path: Path) -> None:
    """Another image of the same length in bytes, so that only its time tells."""
    before = path.read_bytes()
    candidates = (jpeg(seed) for seed in range(20_000, 40_000))
    path.write_bytes(next(content for content in candidates if len(content) == len(before) and content != before))


CHANGES = {
    "an image rewritten": lambda root: rewrite(root / "train/n01/images/n01_0.JPEG"),
    "an image touched": lambda root: os.utime(root / "val/images/val_0.JPEG", ns=(5, 5)),
    "an image more": lambda root: (root / "train/n01/images/n01_7.JPEG").write_bytes(jpeg(77)),
    "an image less": lambda root: (root / "train/n01/images/n01_0.JPEG").unlink(),
    "an image renamed": lambda root: (root / "train/n01/images/n01_0.JPEG").rename(root / "train/n01/images/a.JPEG"),
    "another order of classes": lambda root: (root / "wnids.txt").write_text("n01\nn02\nn03\n"),
    "another name": lambda root: (root / "words.txt").write_text("n03\tkite\nn01\tcarp\nn02\ttoad\n"),
    "other val labels": lambda root: (root / "val/val_annotations.txt").write_text(
        "".join(f"val_{index}.JPEG\tn02\t0\t0\t7\t7\n" for index in range(5))
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_cache_notices_that_its_source_changed(root: Path, case: str) -> None:
    read(root)
    before = builds(root)
    CHANGES[case](root)
    after = read(root)
    assert len(builds(root)) == 1  # the old one is gone once the new one stands
    assert builds(root).keys() != before.keys()
    fresh = read(root, cache=root / "elsewhere")
    np.testing.assert_array_equal(after.train.images, fresh.train.images)
    assert after[2:] == fresh[2:]
    assert after.val.labels.tolist() == fresh.val.labels.tolist()


DAMAGES = {
    "pixels cut short": lambda build: os.truncate(build / "train_images.npy", 500),
    "pixels lost": lambda build: (build / "val_images.npy").unlink(),
    "labels garbled": lambda build: (build / "train_labels.npy").write_bytes(b"x"),
    "labels empty": lambda build: (build / "train_labels.npy").write_bytes(b""),
    "labels of another length": lambda build: np.save(build / "val_labels.npy", np.zeros(3, np.int32)),
    "about.json garbled": lambda build: (build / "about.json").write_text("{"),
    "about.json of another kind": lambda build: (build / "about.json").write_text("[]"),
    "about.json without mean": lambda build: (build / "about.json").write_text(
        json.dumps({k: v for k, v in json.loads((build / "about.json").read_text()).items() if k != "mean"})
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_cache_is_built_again(root: Path, tmp_path: Path, case: str) -> None:
    read(root)
    (name,) = builds(root)
    DAMAGES[case](root / "cache" / name)
    data, fresh = read(root), read(root, cache=tmp_path / "fresh")
    np.testing.assert_array_equal(data.train.images, fresh.train.images)
    np.testing.assert_array_equal(data.val.labels, fresh.val.labels)
    assert data[2:] == fresh[2:]
    assert list(builds(root)) == [name]


def test_data_sets_can_share_a_cache_folder(root: Path, tmp_path: Path) -> None:
    other = write_data_set(tmp_path / "other", train=6)
    cache = tmp_path / "shared"
    for source in (root, other, root):
        read(source, cache)
    assert len(list(cache.glob("v*"))) == 2


def test_an_open_data_set_survives_the_rebuild(root: Path) -> None:
    data = read(root)
    before = np.array(data.train.images)
    (root / "train/n01/images/n01_0.JPEG").unlink()
    read(root)
    np.testing.assert_array_equal(data.train.images, before)


# Trouble with the folder.


def test_a_cache_folder_that_cannot_be_made(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for cache in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(DataError, match=r"file.*cannot be written: .*(exists|directory).*data\.cache=") as caught:
            read(root, cache)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(AS_ROOT, reason="no permission stops root")
def test_a_cache_folder_without_permission(root: Path) -> None:
    cache = root / "cache"
    cache.mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"cache.*cannot be written: Permission denied.*data\.cache="):
        read(root)
    cache.chmod(0o700)
    read(root)
    (build,) = cache.glob("v*")
    cache.chmod(0o500)
    read(root)  # reading needs no permission to write
    build.chmod(0)
    with pytest.raises(DataError, match=r"cannot be read: Permission denied.*data\.cache="):
        read(root)
    build.chmod(0o700)
    cache.chmod(0o700)


def test_a_cache_that_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(root)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(caching, "map_npy", refuse)
    with pytest.raises(
        DataError, match=r"train_images\.npy: the cache cannot be read: Permission denied.*data\.cache="
    ):
        read(root)
    assert len(builds(root)) == 1


def test_a_full_disk_is_noticed_before_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(root)
    before = builds(root)
    (root / "train/n01/images/n01_9.JPEG").write_bytes(jpeg(9))

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr("data.decode.decode_chunk", lambda _: pytest.fail("decoded for nothing"))
    with pytest.raises(DataError, match=r"cache: the cache cannot be written: No space left on device.*GB are free"):
        read(root)
    assert builds(root) == before  # neither harmed nor joined by half of one


def test_a_file_system_that_cannot_promise_room_is_used_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unable)
    assert read(root).train.images.shape == (12, 8, 8, 3)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_disk_that_fills_up_while_decoding(root: Path) -> None:
    task = {
        "root": str(root),
        "cache": str(root / "cache"),
        "output": "/dev/full",
        "target": Target((8, 8))._asdict(),
        "paths": ["train/n03/images/n03_0.JPEG"],
        "offset": 0,
    }
    with pytest.raises(DataError, match=r"cache: the cache cannot be written: No space left on device"):
        decode_chunk(task)


def test_a_limit_of_the_system_on_file_sizes(root: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "from common.errors import DataError; from data.tiny_imagenet import load\n"
        f"try: load({str(root)!r}, workers=1, quiet=True)\n"
        "except DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "cache: the cache cannot be written: File too large" in done.stdout
    assert done.stderr == ""
    assert builds(root) == {}


# Interruption. A named pipe among the images holds a build up for as long as nobody writes to it.


class HeldBuild:
    """A process that builds the cache of `root` and waits at the last training image of class n02."""

    def __init__(self, root: Path, workers: int = 1) -> None:
        self.root = root
        self.pipe = root / "train" / "n02" / "images" / "n02_9.JPEG"
        os.mkfifo(self.pipe)
        # Tasks of two images, so that with two workers one of them has already written pixels.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
            "from data import build; from data.tiny_imagenet import load; build.CHUNK = 2\n"
            f"load({str(root)!r}, workers={workers}, quiet=True); print('built')"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.wait_until_stuck()

    def wait_until_stuck(self) -> None:
        """Until somebody reads the pipe: only then can it be opened for writing without waiting."""
        for _ in range(1000):
            assert self.process.poll() is None, self.process.communicate()
            try:
                self.writer = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(0.01)
            else:
                return
        pytest.fail("the build never came to the pipe")

    def release(self, content: bytes = b"") -> None:
        if self.writer >= 0:
            os.write(self.writer, content)
            os.close(self.writer)
            self.writer = -1

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.release()  # a worker that waits at the pipe would live on and keep stderr open
        self.process.communicate(timeout=10)


@pytest.fixture
def held(root: Path, request: pytest.FixtureRequest) -> Iterator[HeldBuild]:
    read(root)  # an earlier, valid cache
    build = HeldBuild(root, workers=request.param)
    yield build
    build.end()


def partials(root: Path) -> list[Path]:
    return list((root / "cache").glob("*.partial-*"))


@pytest.mark.parametrize("held", [1, 2], indirect=True)
def test_kill_9_in_the_middle_of_a_build(root: Path, held: HeldBuild) -> None:
    (old,) = (name for name in builds(root) if files.PARTIAL not in name)
    assert len(partials(root)) == 1
    held.end()
    assert len(partials(root)) == 1
    assert [name for name in builds(root) if files.PARTIAL not in name] == [old]

    held.pipe.unlink()  # the source as it was: so is the cache
    made = builds(root)[old]
    assert len(read(root).train.labels) == 12
    assert builds(root)[old] == made

    held.pipe.write_bytes(jpeg(9))  # the source as it was to become: the next build works and cleans up
    data = read(root)
    assert len(data.train.labels) == 13
    assert len(builds(root)) == 1
    assert partials(root) == []
    np.testing.assert_array_equal(data.train.images, read(root, root / "elsewhere").train.images)


@pytest.mark.parametrize("held", [1, 2], indirect=True)
def test_ctrl_c_in_the_middle_of_a_build(root: Path, held: HeldBuild) -> None:
    held.process.send_signal(signal.SIGINT)
    _, errors = held.process.communicate(timeout=10)
    assert held.process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert partials(root) == []
    assert len(builds(root)) == 1


@pytest.mark.parametrize("held", [1], indirect=True)
def test_a_second_build_waits_for_the_first_and_takes_its_result(root: Path, held: HeldBuild) -> None:
    code = f"from data.tiny_imagenet import load; print(len(load({str(root)!r}, workers=1).train.labels))"
    second = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    assert "waiting for another process" in second.stderr.readline()
    held.release(jpeg(9))
    assert "built" in held.process.communicate(timeout=10)[0]
    output, errors = second.communicate(timeout=10)
    assert output == "13\n"
    assert "Decoding" not in errors
    assert len(builds(root)) == 1
    assert partials(root) == []


def test_without_locks_the_slower_of_two_builds_gives_way(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    fill = caching.fill

    def overtaken(folder: Path, *rest: object) -> object:
        key = fill(folder, *rest)  # type: ignore[arg-type]
        monkeypatch.setattr(caching, "fill", fill)
        read(root)  # another process finishes first
        monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None)  # and just after this one looked
        return key

    monkeypatch.setattr(caching, "fill", overtaken)
    data = read(root)
    monkeypatch.undo()
    np.testing.assert_array_equal(data.train.images, read(root, root / "elsewhere").train.images)


def test_caches_and_runs_of_before_are_recognised() -> None:
    """Stamp and fingerprint are compared with what earlier versions wrote: neither may change for the same files."""
    files_of_class = [File("a.JPEG", 700, 5), File("b.JPEG", 800, 6)]
    scanned = Scan(Path("anywhere"), {"wnids.txt": b"n01\n"}, {"n01": files_of_class}, files_of_class[:1])
    assert stamp(scanned) == "4821e254c6374c62ef12f54cf20b3315ef94bbfa860c57b5cc94dd0a50c60de7"
    listing = Listing(("n01",), ("ant",), ["train/a.JPEG", "train/b.JPEG"], [0, 0], ["val/a.JPEG"], [0])
    fingerprint = building._fingerprint(listing, [{"sha256": "ab" * 32}, {"sha256": "cd" * 32}])
    assert fingerprint == "22a04f2d951d7120f514cfb27130efc6028548e542a39a421cf6334972581468"
