"""Random changes of the content of a file, of the kinds that damage, careless editors and ill will make."""

import random
import re
import zipfile
from pathlib import Path

LARGE = "1" + 30 * "0"
NUMBERS = ("NaN", "Infinity", "-1", "1e999", LARGE, "9" * 5000, "true", "null", '"3"', "[]", "{}", "[" * 3000)
ODD = (*NUMBERS, "*a", "&a [*a]", "!!int ''", "\0", "\x85", "PK", "'", ",", "\n", "-", ": ", "!!set {a}", "<<: 3")
TEXTS = ("", " ", "\ufeff", "../x", "/etc/passwd", "a" * 300, "é", "\u202e", "%s", "$x", "~", "~nosuchuser/x")
VALUE = 0.4  # of the changes replace a whole word or number


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, lost or doubled, or with an odd value in place of another."""
    if not content:
        return rng.choice(ODD).encode()
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice([1, 1, 2, 5, 40]))
    replacement = rng.choice([
        bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 : end],
        bytes(rng.randrange(256) for _ in range(end - start)),
        b"",
        content[start:end] * 2,
        rng.choice(ODD).encode(),
    ])  # fmt: skip
    values = list(re.finditer(rb"[\w.]+", content)) if rng.random() < VALUE else []
    if values:
        start, end = rng.choice(values).span()
    return content[:start] + replacement + content[end:]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content as a disk or a connection may leave it: cut, with zeros or noise inside, with a part missing."""
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.choice([1, 10, 100, 1000]))
    noise = bytes(rng.randrange(256) for _ in range(end - start))
    return rng.choice([
        content[:start], content[:start] + content[end:], content[:start] + bytes(end - start) + content[end:],
        content[:start] + noise + content[end:],
    ])  # fmt: skip


def rewrite(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """The same archive with these members, whose checksums are right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | members
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(shape: object = (2, 3), descr: object = "<f4", content: bytes = bytes(24)) -> bytes:
    """A `.npy` file that says so of its array."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content
