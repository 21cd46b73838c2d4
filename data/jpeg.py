"""Damage inside a JPEG file, which Pillow does not report (file format and Huffman codes: ITU-T T.81, 1992).

The pixels of a JPEG are one long row of Huffman codes. Where some bytes were overwritten or lost, wrong codes are read.
They soon fall into step with the right ones again, but by then the number of blocks is another one: at the end of the
row some codes are left over, or they are missing and the last blocks stay grey. The decoder that Pillow uses warns of
this, but Pillow does not pass the warning on. So the codes are read here once more, and their blocks counted.

This cannot find damage that leaves the number of blocks as it was. A single wrong bit often does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

END, RESTART_INTERVAL, HUFFMAN, SCAN = 0xD9, 0xDD, 0xC4, 0xDA  # markers: the byte after FF
ALONE = {0x01, 0xD8}  # markers without content
SEQUENTIAL = {0xC0, 0xC1}  # the frames whose codes are read here
OTHER_FRAMES = {0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # progressive ones above all
MARKER, RESTART = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]"), re.compile(rb"\xff[\xd0-\xd7]")

SPARE = 4  # bytes left over that are no damage: some cameras write them
ZEROS = bytes(16)  # left by a copy that skipped a part; no image has so many, except where zero bits end a block
BLOCK = 64  # coefficients
NO_CODE = 255  # in a table: no code begins with these bits
LONGEST = 4 * BLOCK  # bytes of a block: codes and values of at most 16 bits each


class Table(NamedTuple):
    """A Huffman table. Its codes are numbered in the order of their length."""

    first: np.ndarray  # uint8 (2^16,): for each value of the next 16 bits, the code that they begin with, or NO_CODE
    bits: list[int]  # for each code, its length and that of the value behind it
    coefficients: list[int]  # for each code, how many coefficients it stands for; BLOCK: all that are left


class Scan(NamedTuple):
    """One row of codes."""

    start: int
    end: int  # the codes are content[start:end]
    blocks: tuple[tuple[str, str], ...]  # the names of the Huffman tables of each block of a unit; none: cannot be read
    units: int  # how many units there are
    interval: int  # units between two restart markers; 0: there are none
    tables: dict[str, Table]


def damage(content: bytes, decode: Callable[[bytes], np.ndarray]) -> str:
    """What is wrong with the content of a JPEG file; empty if nothing is.

    Progressive files are judged by a trial alone, for which `decode` decodes the content of a file: codes that are
    appended must not change any pixel. If they do, codes were missing.
    """
    try:
        scans = list(_scans(content))
        problems = [_read(content[scan.start : scan.end], scan) for scan in scans if scan.blocks]
    except LookupError:  # a structure that is not understood here, as without Huffman tables
        return ""
    for scan in scans:
        if not scan.blocks:
            longer = content[: scan.end] + b"\xff\x00" * BLOCK + content[scan.end :]
            same = np.array_equal(decode(longer), decode(content))
            problems.append("" if same else "a part of its pixels is missing")
    return next(filter(None, problems), "")


def _scans(content: bytes) -> Iterator[Scan]:
    """The scans before the end-of-image marker. Raises ValueError if that is missing."""
    tables: dict[str, Table] = {}
    frame, interval, sequential, place = b"", 0, False, 2
    while found := MARKER.search(content, place):
        marker, place = found[0][-1], found.end()
        if marker == END:
            return
        if marker in ALONE:
            continue
        length = int.from_bytes(content[place : place + 2])
        segment, place = content[place + 2 : place + length], place + length
        if marker == HUFFMAN:
            tables = tables | dict(_tables(segment))
        elif marker == RESTART_INTERVAL:
            interval = int.from_bytes(segment[:2])
        elif marker in SEQUENTIAL | OTHER_FRAMES:
            frame, sequential = segment, marker in SEQUENTIAL
        elif marker == SCAN:
            following = MARKER.search(content, place)
            start, place = place, following.start() if following else len(content)
            blocks, units = _layout(frame, segment) if sequential else ((), 0)
            yield Scan(start, place, blocks, units, interval, tables)
    raise ValueError("its end is missing")


def _layout(frame: bytes, scan: bytes) -> tuple[tuple[tuple[str, str], ...], int]:
    """The blocks of one unit, and the number of units, from the segments that describe the frame and the scan."""
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    sampling = {frame[i]: (frame[i + 1] >> 4, frame[i + 1] & 15) for i in range(6, 6 + 3 * frame[5], 3)}
    across, down = (max(factors) for factors in zip(*sampling.values(), strict=True))
    names = {scan[i]: (f"dc{scan[i + 1] >> 4}", f"ac{scan[i + 1] & 15}") for i in range(1, 1 + 2 * scan[0], 2)}
    if len(names) > 1:
        blocks = tuple(pair for component, pair in names.items() for _ in range(np.prod(sampling[component])))
        return blocks, _ceil(width, 8 * across) * _ceil(height, 8 * down)
    ((component, pair),) = names.items()
    h, v = sampling[component]
    return (pair,), _ceil(_ceil(width * h, across), 8) * _ceil(_ceil(height * v, down), 8)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


def _tables(segment: bytes) -> Iterator[tuple[str, Table]]:
    """The Huffman tables of a segment with their names, as in `ac1`."""
    place = 0
    while place < len(segment):
        kind, counts = segment[place], segment[place + 1 : place + 17]
        symbols = segment[place + 17 : place + 17 + sum(counts)]
        yield f"{'ac' if kind >> 4 else 'dc'}{kind & 15}", _table(counts, symbols, kind < 16)
        place += 17 + sum(counts)


@lru_cache(maxsize=16)  # most files have the same four
def _table(counts: bytes, symbols: bytes, dc: bool) -> Table:
    first, bits, coefficients = np.full(1 << 16, NO_CODE, np.uint8), [0] * 256, [2 * BLOCK] * 256
    number = begin = 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[number : number + count]:
            zeros, size = (0, symbol) if dc else (symbol >> 4, symbol & 15)
            first[begin : begin + (1 << 16 - length)] = number
            bits[number] = length + size
            coefficients[number] = BLOCK if symbol == 0 and not dc else zeros + 1
            number, begin = number + 1, begin + (1 << 16 - length)
    return Table(first, bits, coefficients)


def _read(codes: bytes, scan: Scan) -> str:
    """What is wrong with the codes of a scan; empty if nothing is."""
    if ZEROS in codes:
        tables = (scan.tables[ac] for _, ac in scan.blocks)
        if any(table.coefficients[table.first[0]] < BLOCK for table in tables):
            return "a part of its pixels was overwritten with zeros"
    parts, interval = RESTART.split(codes), scan.interval or scan.units
    if len(parts) != _ceil(scan.units, interval):
        return "a restart marker is missing, or there is one too many"
    for i, part in enumerate(parts):
        plain = part.replace(b"\xff\x00", b"\xff")  # FF among the codes is followed by 00
        problem = _read_part(plain, min(interval, scan.units - i * interval), scan)
        if problem:
            return problem
    return ""


def _read_part(codes: bytes, units: int, scan: Scan) -> str:
    """The same for the codes between two restart markers."""
    following = _next_bits(codes)
    tables = {name: scan.tables[name] for pair in scan.blocks for name in pair}
    codes_at = {
        name: table.first[following].tobytes() for name, table in tables.items()
    }  # by the bit that they begin at
    unit = [(codes_at[dc], tables[dc], codes_at[ac], tables[ac]) for dc, ac in scan.blocks]
    place, end = 0, 8 * len(codes)
    for dc_at, dc, ac_at, ac in unit * units:
        if place >= end:
            return "a part of its pixels is missing"
        code = dc_at[place]
        place, coefficients = place + dc.bits[code], dc.coefficients[code]
        bits, steps, step = ac.bits, ac.coefficients, coefficients
        while coefficients < BLOCK:
            code = ac_at[place]
            place += bits[code]
            step = steps[code]
            coefficients += step
        if step > BLOCK or (coefficients > BLOCK and step < BLOCK):
            return "a part of its pixels was overwritten"
    if place > end:
        return "a part of its pixels is missing"
    return "it holds more than its pixels" if end - place >= 8 * (SPARE + 1) else ""


def _next_bits(codes: bytes) -> np.ndarray:
    """The 16 bits that follow each bit, uint16 (bits + a block,); the last codes are followed by ones."""
    ahead = np.frombuffer(codes + b"\xff" * (LONGEST + 2), np.uint8).astype(np.uint32)
    three = ahead[:-2] << 16 | ahead[1:-1] << 8 | ahead[2:]
    return (three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)).astype(np.uint16).ravel()
