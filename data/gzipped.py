"""Files compressed by gzip, alone or around a tar archive, that may be damaged or made to do harm.

Every such file of the project is read here, piece by piece: a small file that unpacks to much takes no memory.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import DamagedError
from data.arrays import damage

MAGIC = b"\x1f\x8b"  # the first bytes of such a file
BEST_RATIO = 1032  # a byte cannot unpack to more bytes than that (zlib, technical details)
PIECE = 1 << 20  # bytes
BLOCK = 512  # bytes, of which a tar archive consists


class Unzipped:
    """The unpacked bytes of a file that is open at its beginning.

    Its methods raise DamagedError, which names `source`, where the file is damaged, and at more than `most` bytes.
    """

    def __init__(self, file: IO[bytes], source: str, most: int) -> None:
        self._file = gzip.GzipFile(fileobj=file)
        self._source, self._most = source, most

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or as many as there are: at most PIECE at once."""
        if not 0 <= size <= PIECE:  # of a tar archive, whose headers say how long a name is
            raise DamagedError(f"{self._source}: damaged or cut short (a header of {size:,} bytes)")
        with damage(self._source):
            content = self._file.read(size)
        self._limit(self.tell())
        return content

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        self._limit(position)
        with damage(self._source):
            return self._file.seek(position)

    def _limit(self, position: int) -> None:
        if position > self._most:
            raise DamagedError(f"{self._source}: unpacks to more than {self._most:,} bytes")


class Tar:
    """A tar archive in a gzip file that is open at its beginning. Made by `open_tar`."""

    def __init__(self, file: Unzipped, source: str) -> None:
        self._file, self._source = file, source
        with damage(source):
            self._archive = tarfile.TarFile(fileobj=file)  # type: ignore[arg-type]

    def members(self, most: int) -> list[tarfile.TarInfo]:
        """What is in the archive; the whole file is read, and its checksum compared.

        Raises DamagedError, also for more than `most` members.
        """
        members, end = [], 0
        with damage(self._source):
            for member in self._archive:
                members.append(member)
                if len(members) > most:
                    raise DamagedError(f"{self._source}: unpacks to more than {most:,} files")
                blocks = -(-member.size // BLOCK) if member.isreg() else 0
                end = member.offset_data + blocks * BLOCK
        # tarfile takes a damaged header in the middle for the end of the archive, behind which is nothing but zeros.
        self._file.seek(end)
        while piece := self._file.read(PIECE):
            if piece.strip(b"\0"):
                raise DamagedError(f"{self._source}: damaged or cut short (a damaged header)")
        if not members:
            raise DamagedError(f"{self._source}: damaged or cut short (an empty archive)")
        return members

    def open(self, member: tarfile.TarInfo) -> TarMember:
        return TarMember(self._archive, member, self._source)


class TarMember:
    """A file in a tar archive that is read piece by piece. `read` raises DamagedError where its bytes are damaged."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo, source: str) -> None:
        self._source = f"{source}: {member.name}"
        with damage(self._source):
            file = archive.extractfile(member)
        assert file is not None, "not a file"
        self._file = file

    def read(self, size: int = -1) -> bytes:
        with damage(self._source):
            return self._file.read(size)


@contextmanager
def open_tar(path: Path, most: int) -> Iterator[Tar]:
    """The tar archive in a `.tar.gz` file, which must not unpack to more than `most` bytes.

    Raises:
        DamagedError: it is none.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        yield Tar(Unzipped(file, str(path), most), str(path))
