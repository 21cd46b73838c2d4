"""Arrays in `.npy` files, and archives of them (`.npz`, `.zip`), that may be damaged or made to do harm.

Every such file of the project is read here. Nothing is unpickled. What a file says of its sizes is compared with its
length before memory is taken for it, so a small file cannot ask for much.
"""

import errno
import math
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from common.errors import DamagedError

KINDS = "biuf"  # booleans, integers and floats
RAW_16 = np.dtype("V2")  # what NumPy writes of a bfloat16, which it does not know: 16 bits without a meaning


class Header(NamedTuple):
    """What a `.npy` file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    in_columns: bool  # the values are in the order of Fortran
    start: int  # position of the first value

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def damage(source: str) -> Iterator[None]:
    """Turn what a library raises for damaged bytes into DamagedError, which names `source`.

    Which exceptions those are is documented neither by zipfile nor by numpy: among them are errors of the tokenizer,
    of struct, zlib and lzma, UnicodeDecodeError, KeyError, OverflowError and RecursionError. So nothing else may happen
    in the block than reading. An error of the operating system passes, and so does memory that has run out.
    """
    try:
        yield
    except (DamagedError, MemoryError):
        raise
    except OSError as error:
        # These come from no system call: bz2 says "Invalid data stream", and zipfile seeks to before the beginning.
        if error.errno in (None, errno.EINVAL):
            raise DamagedError(f"{source}: damaged or cut short ({error})") from error
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedError(f"{source}: damaged or cut short ({reason})") from error


def read_header(file: IO[bytes], size: int, source: str, raw_16: bool = False) -> Header:
    """The header of a `.npy` file of `size` bytes, open at its beginning. `raw_16`: values may have the type RAW_16.

    Raises:
        DamagedError: it is none of numbers, or the array has another size than the file.
    """
    try:
        with damage(source), warnings.catch_warnings(action="ignore"):  # of files that Python 2 wrote
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of the format")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, in_columns, dtype = read(file)
            header = Header(shape, dtype, in_columns, file.tell())
    except MemoryError:  # brackets, nested too deeply for the parser: a header has at most 10,000 characters
        raise DamagedError(f"{source}: damaged or cut short (its header cannot be read)") from None
    if dtype.hasobject:
        raise DamagedError(f"{source} is a pickled object, which could run code and is never opened")
    if dtype.kind not in KINDS and not (raw_16 and dtype == RAW_16):
        raise DamagedError(f"{source} has type {dtype}, but arrays of numbers are expected")
    if any(side < 0 or isinstance(side, bool) for side in shape):
        raise DamagedError(f"{source}: damaged or cut short (its shape is {shape})")
    if header.size != size:
        raise DamagedError(f"{source}: damaged or cut short (it has {size:,} bytes, and its header {header.size:,})")
    return header


def read_npy(path: Path) -> np.ndarray:
    """The array in a `.npy` file.

    Raises:
        DamagedError: it is damaged, or holds something else than numbers.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        header = read_header(file, os.fstat(file.fileno()).st_size, str(path))
        return _values(file, header, str(path))


def map_npy(path: Path) -> np.ndarray:
    """The array in a `.npy` file as a read-only memory map. Raises what `read_npy` does."""
    with open(path, "rb") as file:
        header = read_header(file, os.fstat(file.fileno()).st_size, str(path))
        order = "F" if header.in_columns else "C"
        return np.memmap(file, header.dtype, "r", header.start, header.shape, order)  # type: ignore[call-overload]


def _values(file: IO[bytes], header: Header, source: str) -> np.ndarray:
    with damage(source):
        content = bytearray(file.read())  # to the end, where zipfile compares the checksum; and it can be written to
        flat = np.frombuffer(content, header.dtype) if content else np.empty(0, header.dtype)
        return flat.reshape(header.shape, order="F" if header.in_columns else "C")


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive in a file.

    Raises:
        DamagedError: it is none.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        with damage(str(path)):
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


def require_stored(path: Path, archive: zipfile.ZipFile) -> None:
    """Raises DamagedError if a member is compressed or occurs twice, or if all have more bytes than the file."""
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
        raise DamagedError(f"{path}: compressed, so it could unpack to any size and is not read")
    if len({member.filename for member in members}) < len(members):
        raise DamagedError(f"{path}: damaged (a name is in it twice)")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise DamagedError(f"{path}: damaged or cut short (its members have more bytes than the file)")


def _require_agreement(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise ValueError if the header before a member has another checksum or other sizes than the list at the end.

    zipfile goes by the list alone: a member whose entry there is overwritten with zeros would be read as an empty one.
    The header may leave them to what follows the member (bit 3 of the flags), or to an extension for large files.
    """
    file = archive.fp
    assert file is not None
    place = file.tell()
    file.seek(member.header_offset)
    flags, *numbers = struct.unpack("<6xH6xLLL4x", file.read(30))
    file.seek(place)
    known = [member.CRC, member.compress_size, member.file_size]
    if not flags & 8 and any(a != b for a, b in zip(numbers, known, strict=True) if a != 0xFFFFFFFF):
        raise ValueError("its two descriptions disagree")


class Member:
    """A member of an archive that is read piece by piece. `read` raises DamagedError where its bytes are damaged."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> None:
        self._source = f"{source}: {member.filename}"
        with damage(self._source):
            self._file = archive.open(member)
            _require_agreement(archive, member)

    def read(self, size: int = -1) -> bytes:
        with damage(self._source):
            return self._file.read(size)


def read_member(archive: zipfile.ZipFile, name: str, source: str, largest: int) -> bytes:
    """The bytes of a member of an archive. Raises DamagedError, also if there are more than `largest`."""
    with damage(source):
        if archive.getinfo(name).file_size > largest:
            raise DamagedError(f"{source}: damaged ({name} has more than {largest:,} bytes)")
        return archive.read(name)


def member_header(archive: zipfile.ZipFile, name: str, source: str) -> Header:
    """The header of the member `<name>.npy`. Its values are not read. Raises DamagedError."""
    with damage(source):
        size = archive.getinfo(f"{name}.npy").file_size
        with archive.open(f"{name}.npy") as member:
            return read_header(member, size, source)


def member_array(archive: zipfile.ZipFile, name: str, source: str, raw_16: bool = False) -> np.ndarray:
    """The array in the member `<name>.npy`; with `raw_16` its values may have the type RAW_16. Raises DamagedError."""
    with damage(source):
        size = archive.getinfo(f"{name}.npy").file_size
        with archive.open(f"{name}.npy") as member:
            return _values(member, read_header(member, size, source, raw_16), source)
