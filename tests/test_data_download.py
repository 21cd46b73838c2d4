"""The download, against a server on this machine that breaks off, ignores ranges, or sends something else."""

import gzip
import hashlib
import http.server
import io
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.command import run_command
from common.errors import DataError
from data import cifar10, imagenette, mnist
from data import unpack as unpacking
from data.download import download, main
from data.fetch import web_address
from data.registry import FOLDERS, SOURCES
from data.source import Archive, Files, WebFile
from data.tiny_imagenet import list_files, load
from data.unpack import unpack
from tests.array_data import write_cifar10, write_idx
from tests.tiny_data import write_data_set

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "tiny-imagenet-200"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every address, or `contents` by their names, with the faults that a test asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.contents: dict[str, bytes] = {}  # by name; where there are some, nothing else is served
        self.ranges = True  # whether Range is honoured
        self.range_offset = 0  # by how much the range that is sent begins too early
        self.break_after: list[int] = []  # bytes after which a response breaks off, one entry a request
        self.statuses: list[int] = []  # answered instead of the content, one entry a request
        self.requests: list[str | None] = []  # the Range header of every request
        self.replies: list[bytes] = []  # sent as they are, headers and all, one entry a request

    @property
    def url(self) -> str:
        return f"{self.base}/{NAME}.zip"

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        if self.server.replies:
            self.wfile.write(self.server.replies.pop(0))
            self.close_connection = True
            return
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        name = self.path.rpartition("/")[2]
        if self.server.contents and name not in self.server.contents:
            self.send_error(404)
            return
        content, start = self.server.contents.get(name, self.server.content), 0
        if wanted and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) - self.server.range_offset  # type: ignore[index]
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after.pop(0)] if self.server.break_after else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def second() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A data set in a zip file, all below tiny-imagenet-200/, as the original is."""
    folder = tmp_path_factory.mktemp("source")
    write_data_set(folder / NAME)
    return Path(shutil.make_archive(str(folder / "packed"), "zip", folder, NAME)).read_bytes()


def web_file(name: str, content: bytes, *urls: str) -> WebFile:
    return WebFile(name, urls, len(content), hashlib.md5(content).hexdigest())


def offer(server: Server, content: bytes) -> Archive:
    """Put the content on the server; what it is described as is true."""
    server.content = content
    return Archive(web_file(f"{NAME}.zip", content, server.url), NAME, list_files)


def get(archive: Archive, to: Path) -> Path:
    return download(archive, to, quiet=True, pause=0.001)


def names(folder: Path) -> set[str]:
    """What is in the folder, but for the lock."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_the_archive_is_the_published_one() -> None:
    archive = SOURCES["tiny_imagenet"].download
    assert isinstance(archive, Archive)
    assert archive.file.urls == ("https://cs231n.stanford.edu/tiny-imagenet-200.zip",)
    assert (archive.file.size, archive.file.md5) == (248_100_043, "90528d7ca1a48142e341f4ef8d21d0de")
    assert archive.folder == NAME


def test_download_and_unpack(server: Server, packed: bytes, tmp_path: Path) -> None:
    to = tmp_path / "new" / "datasets"
    assert get(offer(server, packed), to) == to / NAME
    assert names(to) == {NAME}
    assert len(load(to / NAME, workers=1, quiet=True).train.labels) == 12


def test_what_is_there_is_not_downloaded_again(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    get(archive, tmp_path)
    marker = tmp_path / NAME / "marker"
    marker.touch()
    get(archive, tmp_path)
    assert marker.exists()
    assert len(server.requests) == 1


def test_half_a_data_set_is_neither_taken_nor_overwritten(server: Server, packed: bytes, tmp_path: Path) -> None:
    broken = write_data_set(tmp_path / NAME)
    shutil.rmtree(broken / "train" / "n01")
    with pytest.raises(DataError, match=rf"{NAME}: exists but is incomplete. Move it away .*train/n01"):
        get(offer(server, packed), tmp_path)
    assert (broken / "wnids.txt").exists()
    assert server.requests == []


def test_a_broken_connection_is_taken_up_again(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.break_after = [1000, 500]
    get(archive, tmp_path)
    assert server.requests == [None, "bytes=1000-", "bytes=1500-"]
    assert names(tmp_path) == {NAME}


def test_a_later_run_goes_on_where_the_last_one_ended(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.break_after = [1000] + [0] * 5
    with pytest.raises(DataError, match=r"broken off after 1,000 of .*run the same command again"):
        get(archive, tmp_path)
    assert (tmp_path / f"{NAME}.zip.part").read_bytes() == packed[:1000]
    server.requests.clear()
    get(archive, tmp_path)
    assert server.requests == ["bytes=1000-"]
    assert names(tmp_path) == {NAME}


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, packed: bytes, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / f"{NAME}.zip.part").write_bytes(b"x" * 1000)  # had it been kept, the sum would be wrong
    get(offer(server, packed), tmp_path)
    assert server.requests == ["bytes=1000-"]
    assert names(tmp_path) == {NAME}


def test_a_server_that_sends_another_range_is_not_believed(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.range_offset = 10
    (tmp_path / f"{NAME}.zip.part").write_bytes(packed[:1000])
    with pytest.raises(DataError, match=r"sent another part .*Remove .*zip\.part"):
        get(archive, tmp_path)
    assert (tmp_path / f"{NAME}.zip.part").read_bytes() == packed[:1000]


@pytest.mark.parametrize("excess", [0, 1, 5000])
def test_a_part_that_is_complete_or_too_long(server: Server, packed: bytes, tmp_path: Path, excess: int) -> None:
    (tmp_path / f"{NAME}.zip.part").write_bytes(packed + bytes(excess))
    get(offer(server, packed), tmp_path)
    assert server.requests == ([None] if excess else [])
    assert names(tmp_path) == {NAME}


def test_a_range_beyond_the_end_starts_again(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    (tmp_path / f"{NAME}.zip.part").write_bytes(packed[:2000])
    server.statuses = [416]
    get(archive, tmp_path)
    assert server.requests == ["bytes=2000-", None]


LOGIN = b"<html>please log in"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + LOGIN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n" + LOGIN + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + LOGIN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffffffff\r\n" + LOGIN,
        b"HTTP/1.1 200 OK\r\nContent-Length: garbage\r\n\r\n" + LOGIN,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + LOGIN,
        b"HTTP/1.1 302 Found\r\nLocation: http://h\xc3\xa4.invalid:x/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        b"",
    ],
    ids=[
        "page",
        "chunks",
        "negative chunk",
        "endless chunk",
        "length",
        "negative",
        "redirect",
        "range",
        "line",
        "nothing",
    ],
)
def test_no_answer_costs_the_bytes_that_are_there(server: Server, packed: bytes, tmp_path: Path, reply: bytes) -> None:
    archive = offer(server, packed)
    part = tmp_path / f"{NAME}.zip.part"
    part.write_bytes(packed[:3000])
    server.replies = [reply] * 5
    with pytest.raises(DataError, match=r"broken off after 3,000 of .*continues from there"):
        get(archive, tmp_path)
    assert part.read_bytes() == packed[:3000]
    assert len(server.requests) == 5, "each failure counts"
    assert names(tmp_path) == {part.name}
    get(archive, tmp_path)
    assert names(tmp_path) == {NAME}


def test_a_server_that_begins_anew_replaces_what_is_there_once_it_has_sent_more(
    server: Server, packed: bytes, tmp_path: Path
) -> None:
    archive = offer(server, packed)
    part = tmp_path / f"{NAME}.zip.part"
    part.write_bytes(packed[:3000])
    server.ranges, server.break_after = False, [2000, 4000] + [0] * 5
    with pytest.raises(DataError, match=r"broken off after 4,000 of"):
        get(archive, tmp_path)
    assert part.read_bytes() == packed[:4000]


def test_drops_after_a_refused_range_come_to_an_end(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    (tmp_path / f"{NAME}.zip.part").write_bytes(packed[:3000])
    server.statuses, server.break_after = [416], [1000] * 50
    with pytest.raises(DataError, match="broken off after 3,000"):
        get(archive, tmp_path)
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    "url",
    ["http://host:port/x.zip", "http://host:99999/x.zip", "http:///x.zip", "http://[::1/x.zip", "http://\u00e4..b/x.zip",
     "file:///etc/passwd", "ftp://host/x.zip", "", "x"],
)  # fmt: skip
def test_what_is_no_web_address_is_not_tried(packed: bytes, tmp_path: Path, url: str) -> None:
    archive = Archive(web_file("x.zip", packed, url), NAME, list_files)
    with pytest.raises(DataError, match=r"not a web address .*--url wants one like"):
        get(archive, tmp_path)


def test_an_address_need_not_be_ascii() -> None:
    assert web_address("http://b\u00fccher.example:81/\u00e4 b%20c?d=\u00e9") == (
        "http://xn--bcher-kva.example:81/%C3%A4%20b%20c?d=%C3%A9"
    )


@pytest.mark.parametrize("to", ["x" * 300, "file/inside"], ids=["long", "below a file"])
def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_text("")
    archive = SOURCES["tiny_imagenet"].download
    assert archive is not None
    with pytest.raises(DataError, match=r"cannot be written: .*--to"):
        get(archive, tmp_path / to)


def test_a_server_in_trouble_is_asked_again(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.statuses = [503, 500]
    get(archive, tmp_path)
    assert len(server.requests) == 3


def test_a_missing_file_is_reported_at_once(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.statuses = [404]
    with pytest.raises(DataError, match=rf"{re.escape(server.url)}: the server answers 404 Not Found.*--url"):
        get(archive, tmp_path)
    assert len(server.requests) == 1


def test_no_server_at_all(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = Archive(web_file("x.zip", packed, "http://127.0.0.1:9/x.zip"), NAME, list_files)  # where nobody listens
    with pytest.raises(DataError, match=r"broken off after 0 of .*refused.*Check your network"):
        get(archive, tmp_path)
    with pytest.raises(DataError, match=r"not a web address .*--url wants"):
        get(Archive(web_file("x.zip", packed, "datasets/x.zip"), NAME, list_files), tmp_path)


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(
    server: Server, packed: bytes, tmp_path: Path
) -> None:
    archive = offer(server, packed)
    server.content += b"more"
    with pytest.raises(DataError, match=rf"the server's file has {len(packed) + 4:,} bytes, not {len(packed):,}"):
        get(archive, tmp_path)
    assert names(tmp_path) == set()


def test_a_wrong_sum_says_what_to_do(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = offer(server, packed)
    server.content = packed[:100] + b"!" + packed[101:]
    with pytest.raises(DataError, match=r"not the expected file.*removed: run the command again") as caught:
        get(archive, tmp_path)
    assert archive.file.md5 in str(caught.value)
    assert names(tmp_path) == set()
    server.content = packed
    get(archive, tmp_path)
    assert names(tmp_path) == {NAME}


def test_an_archive_put_there_by_hand_is_taken_and_kept(server: Server, packed: bytes, tmp_path: Path) -> None:
    own = tmp_path / f"{NAME}.zip"
    archive = offer(server, packed)
    own.write_bytes(packed[:-1])
    with pytest.raises(DataError, match=rf"{NAME}\.zip: not the expected file.*Remove the file"):
        get(archive, tmp_path)
    assert own.exists()
    own.write_bytes(packed)
    get(archive, tmp_path)
    assert names(tmp_path) == {NAME, own.name}
    assert server.requests == []


def test_an_archive_that_does_not_hold_a_whole_data_set(server: Server, packed: bytes, tmp_path: Path) -> None:
    less = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(less, "w") as new:
        for entry in old.infolist():
            if "/val/" not in entry.filename:
                new.writestr(entry, old.read(entry))
    with pytest.raises(DataError, match=r"val_annotations\.txt: missing"):
        get(offer(server, less.getvalue()), tmp_path)
    assert names(tmp_path) == {f"{NAME}.zip.part"}


def test_an_interrupted_unpacking_leaves_nothing_and_the_next_run_cleans_up(
    server: Server, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = offer(server, packed)
    copy, copied = shutil.copyfileobj, []

    def interrupt(source: io.BytesIO, target: io.BytesIO) -> None:
        copy(source, target)
        copied.append(1)
        if len(copied) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(unpacking.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        get(archive, tmp_path)
    assert names(tmp_path) == {f"{NAME}.zip.part"}
    monkeypatch.undo()
    (tmp_path / f"{NAME}.partial-killed" / NAME).mkdir(parents=True)  # what kill -9 would have left
    get(archive, tmp_path)
    assert names(tmp_path) == {NAME}
    assert len(server.requests) == 1


@pytest.mark.parametrize("when", ["downloading", "unpacking"])
def test_a_full_disk(server: Server, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    archive = offer(server, packed)
    if when == "unpacking":
        (tmp_path / f"{NAME}.zip.part").write_bytes(packed)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 9, 9))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"the disk is too full.* MB.* free.*Free some space"):
        get(archive, tmp_path)
    assert names(tmp_path) == ({f"{NAME}.zip.part"} if when == "unpacking" else set())


def test_a_target_that_cannot_be_written(server: Server, packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.*cannot be written: .*--to"):
        get(offer(server, packed), tmp_path / "file")


# Several addresses of a file, and several files.


def mirrored(archive: Archive, *urls: str) -> Archive:
    return archive._replace(file=archive.file._replace(urls=urls))


NOWHERE = "http://127.0.0.1:9/x.zip"  # a port where nobody listens


@pytest.mark.parametrize("fault", ["404", "nowhere", "another size", "another sum", "another range", "broken off"])
def test_the_next_address_is_tried_and_each_failure_is_told_in_one_line(
    server: Server, second: Server, packed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    archive, server.content = offer(second, packed), packed
    part = tmp_path / f"{NAME}.zip.part"
    first, told = server.url, ""
    if fault == "404":
        server.statuses, told = [404], "the server answers 404 Not Found"
    elif fault == "nowhere":
        first, told = NOWHERE, "broken off after 0 of"
    elif fault == "another size":
        server.content, told = packed + b"more", "it is a different file"
    elif fault == "another sum":
        server.content, told = packed[:100] + b"!" + packed[101:], "not the expected file: md5"
    elif fault == "another range":
        part.write_bytes(packed[:1000])
        server.range_offset, told = 10, "the server sent another part of the file"
    else:
        server.break_after, told = [3000] + [0] * 2, "broken off after 3,000 of"
    assert get(mirrored(archive, first, second.url), tmp_path) == tmp_path / NAME
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{first}: ")
    assert told in line
    assert line.endswith(f"; next: {second.url}")
    start = {"another range": 1000, "broken off": 3000}.get(fault)  # what has arrived is kept
    assert second.requests == [f"bytes={start}-" if start else None]


def test_where_no_address_delivers_the_last_one_says_so(server: Server, packed: bytes, tmp_path: Path) -> None:
    archive = mirrored(offer(server, packed), NOWHERE, server.url)
    server.statuses = [404]
    with pytest.raises(DataError, match=rf"{re.escape(server.url)}: the server answers 404"):
        get(archive, tmp_path)


def test_the_rest_of_another_file_is_fetched_anew_once(server: Server, packed: bytes, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.zip.part").write_bytes(b"x" * 1000)
    get(offer(server, packed), tmp_path)
    assert server.requests == ["bytes=1000-", None]
    assert names(tmp_path) == {NAME}


@pytest.fixture
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The four files of a small MNIST."""
    return {path.name: path.read_bytes() for path in write_idx(tmp_path_factory.mktemp("digits")).iterdir()}


def files_at(base: str, contents: dict[str, bytes]) -> Files:
    files = tuple(web_file(name, content, f"{base}/{name}") for name, content in sorted(contents.items()))
    return Files(files, "mnist", mnist.load)


def test_the_files_of_a_data_set_are_fetched_singly(server: Server, digits: dict[str, bytes], tmp_path: Path) -> None:
    server.contents = digits
    wanted = files_at(server.base, digits)
    server.break_after = [10**9] * 2 + [100] + [0] * 5  # the third one breaks off
    with pytest.raises(DataError, match=rf"{wanted.files[2].name}: broken off after 100 of"):
        download(wanted, tmp_path, quiet=True, pause=0.001)
    there = {file.name for file in wanted.files[:2]}
    assert names(tmp_path / "mnist") == {*there, f"{wanted.files[2].name}.part"}
    server.requests.clear()
    for _ in range(2):
        assert download(wanted, tmp_path, quiet=True, pause=0.001) == tmp_path / "mnist"
        assert server.requests == ["bytes=100-", None]
    assert names(tmp_path / "mnist") == set(digits)


def test_files_that_the_user_has_unpacked_are_taken(server: Server, digits: dict[str, bytes], tmp_path: Path) -> None:
    server.contents = digits
    write_idx(tmp_path / "mnist", packed=False)
    download(files_at(server.base, digits), tmp_path, quiet=True)
    assert server.requests == []
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"x")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: damaged .*Remove the file and download it again"):
        download(files_at(server.base, digits), tmp_path, quiet=True)


def test_the_command_takes_the_address_of_a_folder_of_files(
    server: Server,
    digits: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.contents = digits
    small = SOURCES["mnist"]._replace(download=files_at("http://nowhere.invalid", digits))
    monkeypatch.setitem(SOURCES, "mnist", small)
    for told in ("ready", "already there, nothing to do"):
        assert run_command(main, ["mnist", "--to", str(tmp_path), "--url", server.base]) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'mnist'}: {told}.\n"


def test_each_download_has_sizes_sums_and_addresses() -> None:
    sizes = {}
    for name, source in SOURCES.items():
        if source.download is not None:
            wanted = source.download
            files = wanted.files if isinstance(wanted, Files) else (wanted.file,)
            sizes[name] = sum(file.size for file in files)
            assert Path(source.folder).name == wanted.folder
            for file in files:
                assert re.fullmatch("[0-9a-f]{32}", file.md5)
                assert all(url.startswith("http") and url.endswith(f"/{file.name}") for url in file.urls)
    assert sizes == {
        "tiny_imagenet": 248_100_043,
        "cifar10": 170_052_171,
        "cifar100": 168_513_733,
        "mnist": 11_594_722,
        "fashion_mnist": 30_878_645,
    }


# Unpacking what nobody has vouched for.


def tar_of(path: Path, *entries: tuple[str | tarfile.TarInfo, bytes], **options: Any) -> Path:
    with tarfile.open(path, "w:gz", **options) as archive:
        for entry, content in entries:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_tar_archive_is_unpacked(tmp_path: Path) -> None:
    folder = tarfile.TarInfo("./top/folder")
    folder.type = tarfile.DIRTYPE
    long = "top/" + "x" * 150 + "/y"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        entries: list[tuple[str | tarfile.TarInfo, bytes]] = [
            (folder, b""),
            ("top/folder/a", b"1" * 2000),
            ("top/b", b""),
        ]
        if form != tarfile.USTAR_FORMAT:
            entries.append((long, b"3"))
        archive, target = tar_of(tmp_path / "x.tar.gz", *entries, format=form), tmp_path / str(form)
        target.mkdir()
        unpack(archive, target, top="top", quiet=True)
        assert (target / "top" / "folder" / "a").read_bytes() == b"1" * 2000
        assert (target / "top" / "b").read_bytes() == b""
        assert (target / long).exists() == (form != tarfile.USTAR_FORMAT)


EVIL_TAR: dict[str, tuple[str | tarfile.TarInfo, str]] = {
    "a path upwards": ("top/../../evil", "points outside"),
    "an absolute path": ("/top/evil", "points outside"),
    "another folder": ("evil/file", "is not below top/"),
    "a symbolic link": (special("top/evil", tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
    "a hard link": (special("top/evil", tarfile.LNKTYPE, "top/good"), "is a link or a device"),
    "a device": (special("top/evil", tarfile.CHRTYPE), "is a link or a device"),
    "a pipe": (special("top/evil", tarfile.FIFOTYPE), "is a link or a device"),
    "a file twice": ("top/./good", "occurs twice"),
    "below a file": ("top/good/evil", "lies below a file"),
}


@pytest.mark.parametrize("case", EVIL_TAR)
def test_an_entry_of_a_tar_archive_that_would_leave_the_folder_is_refused(tmp_path: Path, case: str) -> None:
    entry, reason = EVIL_TAR[case]
    target = tmp_path / "a" / "target"
    target.mkdir(parents=True)
    archive = tar_of(tmp_path / "evil.tar.gz", ("top/good", b"x"), (entry, b"x"))
    with pytest.raises(DataError, match=rf"evil\.tar\.gz: refused: its entry .* {reason}"):
        unpack(archive, target, top="top", quiet=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "evil.tar.gz", "target"]


def test_a_sparse_file_takes_no_more_than_it_says(tmp_path: Path) -> None:
    """An old extension of the format: a few bytes that stand for a file of terabytes."""
    plain = gzip.decompress(tar_of(tmp_path / "x.tar.gz", ("top/file", b"x")).read_bytes())
    block = bytearray(plain[:512])
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[257:265] = b"ustar  \0"
    block[483:495] = b"77777777777\0"  # its size when it is unpacked
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(block) + plain[512:]))
    (tmp_path / "to").mkdir()
    with pytest.raises(DataError, match=r"x\.tar\.gz: "):
        unpack(tmp_path / "x.tar.gz", tmp_path / "to", top="top", quiet=True)
    assert list((tmp_path / "to").iterdir()) == []


def test_tar_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar_of(tmp_path / "x.tar.gz", *((f"top/{index}", bytes(100_000)) for index in range(30)))
    assert archive.stat().st_size < 20_000
    monkeypatch.setattr(unpacking, "MAX_BYTES", 2_900_000)
    with pytest.raises(DataError, match="would unpack to 30 files of 3,000,000 bytes"):
        unpack(archive, tmp_path, top="top", quiet=True)
    monkeypatch.setattr(unpacking, "MAX_FILES", 20)
    with pytest.raises(DataError, match="unpacks to more than 20 files"):
        unpack(archive, tmp_path, top="top", quiet=True)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 100)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()) + bytes(10_000_000)))
    with pytest.raises(DataError, match="unpacks to more than 41,060 bytes"):
        unpack(archive, tmp_path, top="top", quiet=True)


def test_a_long_name_that_takes_much_memory_is_refused(tmp_path: Path) -> None:
    tar_of(tmp_path / "x.tar.gz", ("top/" + "x" * 30_000_000, b""), format=tarfile.PAX_FORMAT)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"damaged or cut short \(a header of 30,"):
        unpack(tmp_path / "x.tar.gz", tmp_path, top="top", quiet=True)
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("damage", ["cut short", "garbled", "no checksum", "no tar", "empty", "header in the middle"])
def test_a_broken_tar_archive_is_refused_before_anything_is_written(tmp_path: Path, damage: str) -> None:
    archive = tar_of(tmp_path / "x.tar.gz", *((f"top/{index}", bytes(range(256)) * 4) for index in range(5)))
    content = bytearray(archive.read_bytes())
    if damage == "cut short":
        content = content[: len(content) // 2]
    elif damage == "garbled":
        content[len(content) // 2] ^= 255
    elif damage == "no checksum":
        content[-8] ^= 1
    elif damage == "no tar":
        content = bytearray(gzip.compress(b"<html>" * 500))
    elif damage == "empty":
        content = bytearray(gzip.compress(bytes(10_240)))
    else:  # tarfile would take it for the end
        whole = bytearray(gzip.decompress(content))
        whole[2 * 1536 + 10] ^= 255
        content = bytearray(gzip.compress(whole))
    archive.write_bytes(content)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match=r"x\.tar\.gz: not an intact tar\.gz file .*download it again"):
        unpack(archive, target, top="top", quiet=True)
    assert list(target.iterdir()) == []


def test_cifar_and_imagenette_are_downloaded_and_unpacked(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path / "source" / cifar10.FOLDER)
    for split in ("train", "val"):
        for number in range(10):
            folder = tmp_path / "source" / imagenette.FOLDER / split / f"n{number}"
            folder.mkdir(parents=True)
            (folder / "a.JPEG").write_bytes(b"x")
    for name, folder in (("cifar10", cifar10.FOLDER), ("imagenette", imagenette.FOLDER)):
        packed = Path(shutil.make_archive(str(tmp_path / name), "gztar", tmp_path / "source", folder)).read_bytes()
        server.content = packed
        wanted = FOLDERS[name] if name in FOLDERS else SOURCES[name].download
        assert isinstance(wanted, Archive)
        wanted = wanted._replace(file=web_file(wanted.file.name, packed, server.url))
        if name in FOLDERS:
            monkeypatch.setitem(FOLDERS, name, wanted)
        else:
            monkeypatch.setitem(SOURCES, name, SOURCES[name]._replace(download=wanted))
        to = tmp_path / "to"
        assert run_command(main, [name, "--to", str(to)]) == 0
        assert f"{to / folder}: ready." in (out := capsys.readouterr().out)
        assert ("python train.py image_folder data.root=" in out) == (name == "imagenette")
    assert names(to) == {cifar10.FOLDER, imagenette.FOLDER}
    assert (to / imagenette.FOLDER / "words.txt").read_text().startswith("n01440764\ttench\n")
    assert len(cifar10.load(to / cifar10.FOLDER).val.labels) == 12


def zip_of(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


EVIL = {
    "a path upwards": ([("top/../../evil", b"x")], "points outside"),
    "an absolute path": ([("/top/evil", b"x")], "points outside"),
    "a path of Windows": ([("top\\..\\evil", b"x")], "points outside"),
    "a drive of Windows": ([("c:top/evil", b"x")], "points outside"),
    "another folder": ([("evil/file", b"x")], "is not below top/"),
    "a link": ([(link("top/evil"), b"/etc/passwd")], "is a link"),
}


@pytest.mark.parametrize("case", EVIL)
def test_an_entry_that_would_leave_the_folder_is_refused(tmp_path: Path, case: str) -> None:
    entries, reason = EVIL[case]
    target = tmp_path / "a" / "target"
    target.mkdir(parents=True)
    archive = zip_of(tmp_path / "evil.zip", ("top/good", b"x"), *entries)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"evil\.zip: refused: its entry .*evil.* {reason}"):
        unpack(archive, target, top="top", quiet=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "evil.zip", "target"]  # not even the good one


def test_an_entry_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zip_of(tmp_path / "x.zip", ("top/file", b"1"), ("top/file", b"2"))
    with pytest.raises(DataError, match="'top/file' occurs twice"):
        unpack(archive, tmp_path, top="top", quiet=True)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "x.zip", ("top/file", b"x"))
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # flags of the local header
    content[content.rfind(b"PK\x01\x02") + 8] |= 1  # and of the directory
    archive.write_bytes(content)
    with pytest.raises(DataError, match="'top/file' is encrypted"):
        unpack(archive, tmp_path, top="top", quiet=True)


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 250)])
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    archive = zip_of(tmp_path / "x.zip", *((f"top/{index}", bytes(100)) for index in range(3)))
    monkeypatch.setattr(unpacking, limit, value)
    with pytest.raises(DataError, match="would unpack to 3 files of 300 bytes"):
        unpack(archive, tmp_path, top="top", quiet=True)
    monkeypatch.setattr(unpacking, limit, 300)
    unpack(archive, tmp_path, top="top", quiet=True)
    assert (tmp_path / "top" / "2").read_bytes() == bytes(100)


@pytest.mark.parametrize("damage", ["not a zip", "cut short", "pixels garbled", "size understated"])
def test_a_broken_zip_file(tmp_path: Path, damage: str) -> None:
    archive = zip_of(tmp_path / "x.zip", ("top/file", bytes(range(256)) * 8))
    content = bytearray(archive.read_bytes())
    if damage == "not a zip":
        content = bytearray(b"<html>not found</html>")
    elif damage == "cut short":
        content = content[:-30]
    elif damage == "pixels garbled":
        content[60] ^= 255
    else:
        directory = content.rfind(b"PK\x01\x02")
        content[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match=r"x\.zip: not an intact zip file .*download it again"):
        unpack(archive, target, top="top", quiet=True)
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) <= 2048


# The command.


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "data.download", *map(str, arguments)]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_already_there(tmp_path: Path) -> None:
    write_data_set(tmp_path / NAME)
    done = command("tiny_imagenet", "--to", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path / NAME}: already there" in done.stdout


def test_the_command_fails_in_one_line(server: Server, packed: bytes, tmp_path: Path) -> None:
    offer(server, packed)  # not of the size that the real one has
    done = command("tiny_imagenet", "--to", tmp_path, "--url", server.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(rf"^error: {re.escape(server.url)}: the server's file has", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tiny-imagenet", "no data set of this name can be downloaded; did you mean tiny_imagenet?"),
        ("svhn", "choose from cifar10, cifar100, fashion_mnist, imagenette, mnist, tiny_imagenet"),
        ("shapes", "nothing to download"),
    ],
)
def test_an_unknown_data_set_is_refused(name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, [name]) == 2
    assert told in capsys.readouterr().err
