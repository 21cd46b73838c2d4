"""A web server that misbehaves at random, and the download from it.

It breaks off, ignores ranges, answers with errors, pages and headers that make no sense. Promises: a download that ends
is as long as the file (its checksum is tested afterwards); one that fails says so, and loses no byte that had arrived.
"""

import http.server
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.inputs import Attempt, hold
from benchmarks.faults.mutations import mutated
from data.fetch import fetch

SIZE = 200_000  # bytes of the file: a few blocks
FULL = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.plan: Callable[[int], bytes] = lambda start: b""  # the whole answer, by the first byte that is wanted
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        self.close_connection = True
        self.wfile.write(self.server.plan(int(found[1]) if found else 0))

    def log_message(self, format: str, *args: object) -> None:
        pass


def answers(content: bytes, rng: random.Random) -> Callable[[int], bytes]:
    """What the server sends, by the first byte that is wanted."""

    def ranged(start: int, first: int | None = None) -> bytes:
        first = start if first is None else first
        place = f"Content-Range: bytes {first}-{SIZE - 1}/{SIZE}\r\nContent-Length: {SIZE - start}"
        return f"HTTP/1.1 206 Partial\r\n{place}\r\n\r\n".encode() + content[start:]

    def right(start: int) -> bytes:
        return ranged(start) if start else FULL + content

    def answer(start: int) -> bytes:
        sound = right(start)
        head, _, body = sound.partition(b"\r\n\r\n")
        page, chunk = b"<html>log in</html>", rng.choice([b"-5", b"zz", b"5\r\nabc", b"0\r\n"])
        elsewhere = rng.choice([b"file:///etc/passwd", b"//", b"ftp://x", b"/"])
        return rng.choice([
            sound, sound,
            sound[: rng.randrange(len(sound))],  # breaks off
            FULL + content,  # ignores the range
            FULL + page, b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n" + page, b"HTTP/1.1 200 OK\r\n\r\n" + page,
            ranged(start, rng.randrange(SIZE)),  # says that it begins elsewhere
            b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % rng.choice([301, 404, 408, 416, 429, 500, 503]),
            b"HTTP/1.1 302 Found\r\nLocation: " + elsewhere + b"\r\n\r\n",
            mutated(head, rng) + b"\r\n\r\n" + body,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk,
            b"", b"\0" * 100, b"HTTP/9.9 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        ])  # fmt: skip

    return answer


def downloads(folder: Path) -> Attempt:
    """Downloads from such a server; some continue one that was broken off."""
    content = random.Random(0).randbytes(SIZE)
    server, part = Server(content), folder / "file.part"
    url = f"http://127.0.0.1:{server.server_port}/file"

    def attempt(rng: random.Random) -> None:
        have = rng.choice([0, 0, 1000, SIZE // 2, SIZE - 1])
        part.write_bytes(content[:have])
        server.plan = answers(content, rng)
        try:
            fetch(url, SIZE, part, quiet=True, pause=0.0)
            hold(part.stat().st_size == SIZE, "a download that ends is as long as the file")
        finally:
            left = part.read_bytes() if part.exists() else b""
            hold(len(left) >= have, f"no byte that had arrived is lost ({have:,} before, {len(left):,} now)")
            part.unlink(missing_ok=True)

    return attempt
