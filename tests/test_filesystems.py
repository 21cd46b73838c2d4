"""File systems that cannot lock, flush, map or keep permissions: all goes on, after one warning each."""

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common import files, filesystems
from common.errors import DataError
from common.files import replace_text
from data import cache as caching
from data.tiny_imagenet import load
from tests.tiny_data import write_data_set
from training import checkpoint
from training.metrics import MetricsRow
from training.run_folder import RunFolder

CANNOT = [errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM]
names = [errno.errorcode[number] for number in CANNOT]
FLUSH = "cannot flush files to the disk; a power failure may damage what was written last\n"
LOCK = "cannot lock files; let only one process at a time write there\n"
MAP = "cannot map files into memory; the images are read into memory as a whole; data.cache=DIR names another folder\n"
ROW = MetricsRow(1, 9, 1.0, 1.0, 0.5, 0.5, 1e-3, 10.0, 10.0, 0.0)


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_warned", set())


def failing(number: int, when: Callable[..., bool] = lambda *_: True, otherwise: Callable[..., object] = lambda *_: 0):
    """A function of the operating system that fails with this error."""

    def function(*arguments: object, **options: object) -> object:
        if when(*arguments):
            raise OSError(number, os.strerror(number))
        return otherwise(*arguments, **options)

    return function


def is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/dev/fd/{descriptor}/")


@pytest.mark.parametrize("number", CANNOT, ids=names)
@pytest.mark.parametrize("what", [is_folder, lambda descriptor: True], ids=["folders", "files too"])
def test_what_cannot_be_flushed_is_saved_all_the_same(
    what: Callable[[int], bool],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number, what, os.fsync))
    run = RunFolder(tmp_path)
    for step in (1, 2):
        checkpoint.save(run.last, {"W": np.arange(3.0)}, {"step": step})
        replace_text(tmp_path / "text", f"{step}")
    run.append_metrics(ROW)
    assert checkpoint.load(run.last)[1] == {"step": 2}
    assert (tmp_path / "text").read_text() == "2"
    assert run.read_metrics() == [ROW]
    err = capfd.readouterr().err
    assert err.endswith(FLUSH)
    assert err.count("\n") == 1
    assert err.startswith(f"warning: {tmp_path}")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.EISDIR], ids=["EACCES", "EINVAL", "EISDIR"])
def test_a_folder_that_cannot_be_opened_is_not_flushed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "open", failing(number, lambda path, *_: os.path.isdir(path), os.open))
    replace_text(tmp_path / "text", "content")
    assert (tmp_path / "text").read_text() == "content"
    assert capfd.readouterr().err == f"warning: {tmp_path}: this file system {FLUSH}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_other_errors_of_flushing_are_errors_and_name_the_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    run = RunFolder(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        checkpoint.save(run.last, {"W": np.arange(3.0)}, {})
    assert caught.value.filename == str(run.last)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        run.append_metrics(ROW)
    assert caught.value.filename == str(run.metrics_file)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        files.fsync_path(tmp_path)
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize("number", [*CANNOT, None], ids=[*names, "Windows"])
def test_without_locks_a_run_is_trained_after_one_warning(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if number is None:
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", failing(number))
    for _ in range(2):
        with RunFolder(tmp_path).lock():
            pass
    assert capfd.readouterr().err == f"warning: {tmp_path}: this file system {LOCK}"


@pytest.mark.parametrize("number", [*CANNOT, errno.ENODEV], ids=[*names, "ENODEV"])
def test_without_memory_maps_the_cache_is_used_all_the_same(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_data_set(tmp_path / "tiny")
    expected = load(root, cache=tmp_path / "mapped", workers=1, quiet=True)
    monkeypatch.setattr(mmap, "mmap", failing(number))
    first = load(root, workers=1, quiet=True)
    monkeypatch.setattr(caching, "write_build", lambda *_: pytest.fail("decoded again"))
    for found in (first, load(root, workers=1, quiet=True)):
        np.testing.assert_array_equal(found.train.images, expected.train.images)
        with pytest.raises(ValueError, match="read-only"):
            found.val.images[0] = 1
    (build,) = (root / "cache").glob("v*")
    assert capfd.readouterr().err == f"warning: {build}: this file system {MAP}"


def test_a_map_that_fails_for_another_reason_is_a_damaged_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data_set(tmp_path / "tiny")
    load(root, workers=1, quiet=True)
    monkeypatch.setattr(mmap, "mmap", failing(errno.EIO))
    with pytest.raises(DataError, match="was built but cannot be read back"):
        load(root, workers=1, quiet=True)


def test_a_file_system_that_can_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_data_set(tmp_path / "tiny")
    expected = load(root, cache=tmp_path / "elsewhere", workers=1, quiet=True)
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSYS))
    monkeypatch.setattr(os, "chmod", failing(errno.EPERM))
    monkeypatch.setattr(files.fcntl, "flock", failing(errno.ENOLCK))
    monkeypatch.setattr(mmap, "mmap", failing(errno.ENODEV))
    found = load(root, workers=1, quiet=True)
    np.testing.assert_array_equal(found.val.images, expected.val.images)
    with RunFolder(tmp_path).lock():
        RunFolder(tmp_path).append_metrics(ROW)
    warnings = capfd.readouterr().err.splitlines(keepends=True)
    assert [line.partition("this file system ")[2] for line in warnings] == [LOCK, FLUSH, MAP]
