"""Fetch a file from a web server: in as many connections as it takes, and without losing a byte that has arrived.

The bytes are appended to `part`. Where a server does not continue a download but sends the whole file again, its answer
goes to a second file, which takes the place of the first once it is longer: the answer may be something else, such as
the login page of a hotel.
"""

from __future__ import annotations

import http.client
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from common.errors import DataError
from common.progress import progress_bar

BLOCK = 1 << 16  # bytes read at once
TIMEOUT = 30.0  # seconds without a byte from the server
ATTEMPTS = 5  # connections without a byte before giving up
CONNECTIONS = 1000  # in all
PAUSE = 2.0  # seconds before the second attempt; doubled before each further one

# Not OSError, the base class of all but HTTPException: a full disk must not be mistaken for a broken connection.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
SAFE = "/%:@!$&'()*+,;=~-._?"  # characters that stand for themselves in a path or a query


class ServerError(DataError):
    """A server that does not deliver the file. Another one may."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}. {advice}")
        self.what = what


def fetch(url: str, size: int, part: Path, quiet: bool, pause: float, attempts: int = ATTEMPTS) -> None:
    """Download the missing bytes of a file of `size` bytes, reconnecting as often as necessary.

    pause: seconds before the second connection.  attempts: connections without a byte before giving up.

    Raises ServerError, and DataError where the address is none or the disk is too full.
    """
    address = web_address(url)
    with progress_bar(size, part.name.removesuffix(".part"), "B", quiet) as bar:
        _Fetch(address, size, part, bar, attempts).run(pause)
        bar.n = size
        bar.refresh()


def web_address(url: str) -> str:
    """The address in ASCII, as the protocol wants it. Raises DataError where it is none."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("no http or https")
        netloc = parts.netloc if parts.netloc.isascii() else host.encode("idna").decode() + (f":{port}" if port else "")
        path, query = (urllib.parse.quote(text, safe=SAFE) for text in (parts.path, parts.query))
        return urllib.parse.urlunsplit((parts.scheme, netloc, path, query, ""))
    except ValueError as error:
        raise DataError(f"{url}: not a web address ({error}); --url wants one like https://host/file.zip.") from error


@dataclass
class _Fetch:
    """One download and its troubles so far."""

    url: str
    size: int  # bytes of the whole file
    part: Path
    bar: tqdm[Any]
    attempts: int
    ranges: bool = True  # whether to ask for the missing bytes alone
    trouble: str = ""

    @property
    def fresh(self) -> Path:
        """What a server sends that begins anew."""
        return self.part.with_name(f"{self.part.name}.new")

    def run(self, pause: float) -> None:
        failures = connections = 0
        try:
            while (have := _size(self.part)) != self.size:
                if have > self.size:
                    self.part.unlink()  # the rest of another file: start again
                    continue
                if failures >= self.attempts or connections >= CONNECTIONS:
                    raise ServerError(
                        f"{self.url}: broken off after {have:,} of {self.size:,} bytes ({self.trouble})",
                        "Check your network and run the same command again: the download continues from there.",
                    )
                if failures:
                    time.sleep(pause * 2 ** (failures - 1))
                _require_space(self.part, self.size - have)
                connections += 1
                try:
                    self.trouble = "the server closed the connection"
                    self._receive(have)
                except NETWORK_ERRORS as error:
                    words = " ".join(str(getattr(error, "reason", error)).split())
                    self.trouble = words[:200] or type(error).__name__
                grown = _size(self.part) - have
                failures = failures + 1 if grown <= 0 else 0 if grown >= BLOCK else failures
        finally:
            self.fresh.unlink(missing_ok=True)

    def _receive(self, have: int) -> None:
        """Keep what one connection delivers, from byte `have` if the server supports ranges, else from 0.

        A connection that the server closes early raises nothing: the file is then too short, and the caller goes on.
        """
        with self._answer(have if self.ranges else 0) as response:
            start = self._first_byte(response, have)
            self._check_length(response, start)
            self.bar.n = start
            if start or not have:
                with open(self.part, "r+b" if start else "wb") as file:
                    file.seek(start)
                    self._copy(response, file, self.size - start)
                return
            try:
                with open(self.fresh, "wb") as file:
                    self._copy(response, file, self.size)
            finally:
                if _size(self.fresh) > have:
                    self.fresh.replace(self.part)
                else:
                    self.trouble = "the server does not continue a download, and sent less than is there already"

    def _answer(self, start: int) -> Any:
        request = urllib.request.Request(self.url, headers={"User-Agent": "python", "Accept-Encoding": "identity"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.ranges = False
                raise http.client.HTTPException(f"the server has nothing from byte {start:,} on") from error
            if error.code >= 500 or error.code in (408, 429):
                raise  # temporary; the caller tries again
            raise ServerError(
                f"{self.url}: the server answers {error.code} {error.reason}",
                "If the file has moved, give its new address with --url.",
            ) from error
        except ValueError as error:  # of an address to which the server redirects, or of a malformed answer
            raise _malformed(error) from error

    def _first_byte(self, response: Any, have: int) -> int:
        """Where in the file the response starts: at `have`, or at 0 if the server ignores Range."""
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return 0
        sent = response.headers.get("Content-Range", "")
        if not sent.startswith(f"bytes {have}-"):
            raise ServerError(
                f"{self.url}: the server sent another part of the file ({sent[:80]!r}), not that from byte {have:,} on",
                f"Remove {self.part} and run the command again, or use another server with --url.",
            )
        return have

    def _check_length(self, response: Any, start: int) -> None:
        offered = response.headers.get("Content-Length")
        if offered is None:
            return
        if not (offered.isascii() and offered.isdigit()):
            raise _malformed(f"Content-Length is {offered[:80]!r}")
        if start + int(offered) != self.size:
            raise ServerError(
                f"{self.url}: the server's file has {start + int(offered):,} bytes, not {self.size:,}: it is a "
                "different file",
                "Find the original and give its address with --url; what is already downloaded is kept.",
            )

    def _copy(self, response: Any, file: BinaryIO, limit: int) -> None:
        """Copy at most `limit` bytes."""
        while limit > 0:
            try:
                block = response.read(min(BLOCK, limit))
            except ValueError as error:  # a chunk of a negative size
                raise _malformed(error) from error
            if not block:
                return
            file.write(block)
            limit -= len(block)
            self.bar.update(len(block))


def _malformed(reason: object) -> http.client.HTTPException:
    return http.client.HTTPException(f"the server's answer is malformed: {reason}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DataError(
            f"{path.parent}: the disk is too full: {needed / 1e6:,.0f} MB more are needed and {free / 1e6:,.0f} MB are "
            "free. Free some space, or name another folder with --to."
        )
