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
NO_CODE = 256 * 2 * BLOCK  # in a table: no code begins with these bits
SLAB = 1 << 15  # bytes of codes that are prepared at once
LONGEST = 2 * 2 * BLOCK  # bytes of a block: codes and values of at most 16 bits each


class Scan(NamedTuple):
    """One row of codes."""

    start: int
    end: int  # the codes are content[start:end]
    blocks: tuple[tuple[str, str], ...]  # the names of the Huffman tables of each block of a unit; none: cannot be read
    units: int  # how many units there are
    interval: int  # units between two restart markers; 0: there are none
    tables: dict[str, list[int]]


def damage(content: bytes, pixels: np.ndarray, decode: Callable[[bytes], np.ndarray]) -> str:
    """What is wrong with a JPEG file that was decoded to `pixels`; empty if nothing is.

    Progressive files are judged by a trial alone, for which `decode` decodes another file: codes that are appended must
    not change any pixel. If they do, codes were missing.
    """
    try:
        scans = list(_scans(content))
        problems = [_read(content[scan.start : scan.end], scan) for scan in scans if scan.blocks]
    except LookupError:  # a structure that is not understood here, as without Huffman tables
        return ""
    for scan in scans:
        if not scan.blocks:
            longer = content[: scan.end] + b"\xff\x00" * BLOCK + content[scan.end :]
            problems.append("" if np.array_equal(decode(longer), pixels) else "a part of its pixels is missing")
    return next(filter(None, problems), "")


def _scans(content: bytes) -> Iterator[Scan]:
    """The scans before the end-of-image marker. Raises ValueError if that is missing."""
    tables: dict[str, list[int]] = {}
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


def _tables(segment: bytes) -> Iterator[tuple[str, list[int]]]:
    """The Huffman tables of a segment with their names, as in `ac1`."""
    place = 0
    while place < len(segment):
        kind, counts = segment[place], segment[place + 1 : place + 17]
        symbols = segment[place + 17 : place + 17 + sum(counts)]
        yield f"{'ac' if kind >> 4 else 'dc'}{kind & 15}", _table(counts, symbols, kind < 16)
        place += 17 + sum(counts)


@lru_cache(maxsize=16)  # most files have the same four
def _table(counts: bytes, symbols: bytes, dc: bool) -> list[int]:
    """For each value of the next 16 bits: 256 times the coefficients that its code stands for, plus the number of bits
    of the code and of the value behind it."""
    steps: list[int] = []
    position = 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[position : position + count]:
            zeros, bits = (0, symbol) if dc else (symbol >> 4, symbol & 15)
            coefficients = BLOCK if symbol == 0 and not dc else zeros + 1
            steps += [256 * coefficients + length + bits] * (1 << 16 - length)
        position += count
    return steps + [NO_CODE] * ((1 << 16) - len(steps))


def _read(codes: bytes, scan: Scan) -> str:
    """What is wrong with the codes of a scan; empty if nothing is."""
    tables = [(scan.tables[dc], scan.tables[ac]) for dc, ac in scan.blocks]
    if ZEROS in codes and any(ac[0] // 256 < BLOCK for _, ac in tables):
        return "a part of its pixels was overwritten with zeros"
    parts, interval = RESTART.split(codes), scan.interval or scan.units
    if len(parts) != _ceil(scan.units, interval):
        return "a restart marker is missing, or there is one too many"
    units = (min(interval, scan.units - i * interval) for i in range(len(parts)))
    plain = (part.replace(b"\xff\x00", b"\xff") for part in parts)  # FF among the codes is followed by 00
    problems = (_read_part(part, tables * count) for part, count in zip(plain, units, strict=True))
    return next(filter(None, problems), "")


def _read_part(codes: bytes, blocks: list[tuple[list[int], list[int]]]) -> str:
    """The same for the codes between two restart markers."""
    first, place, ahead = 0, 0, _next_bits(codes, 0)
    left = 8 * len(codes)  # bits from byte `first` on; `place` is a bit after it
    for dc, ac in blocks:
        if place >= 8 * SLAB:
            first, left, place = first + place // 8, left - place // 8 * 8, place % 8
            ahead = _next_bits(codes, first)
        if place >= left:
            return "a part of its pixels is missing"
        step = dc[ahead[place]]
        place, coefficients = place + (step & 255), step >> 8
        while coefficients < BLOCK:
            step = ac[ahead[place]]
            place += step & 255
            coefficients += step >> 8
        if step >= NO_CODE or (coefficients > BLOCK and step >> 8 < BLOCK):
            return "a part of its pixels was overwritten"
    if place > left:
        return "a part of its pixels is missing"
    return "it holds more than its pixels" if left - place >= 8 * (SPARE + 1) else ""


def _next_bits(codes: bytes, first: int) -> list[int]:
    """The 16 bits that follow each bit from byte `first` on, for SLAB bytes and a block more; ones follow the last."""
    slab = codes[first : first + SLAB + LONGEST] + b"\xff" * (LONGEST + 2)
    ahead = np.frombuffer(slab, np.uint8).astype(np.uint32)
    three = ahead[:-2] << 16 | ahead[1:-1] << 8 | ahead[2:]
    shifts = np.arange(8, 0, -1, dtype=np.uint32)
    result: list[int] = (three[:, None] >> shifts & 0xFFFF).ravel().tolist()
    return result
