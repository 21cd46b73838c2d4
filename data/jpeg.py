"""Damage inside a JPEG file, which Pillow does not report (file format and Huffman codes: ITU-T T.81, 1992).

The pixels of a JPEG are long rows of Huffman codes, the scans. Where some bytes were overwritten or lost, wrong codes
are read. They soon fall into step with the right ones again, but by then the number of blocks is another one: at the
end of the row some codes are left over, or they are missing and the last blocks stay grey. The decoder that Pillow uses
warns of this, but Pillow does not pass the warning on. So the codes are read once more (data/jpeg_codes.py). In large
files this would take long: there, Pillow's decoder shows whether it needs all of them (data/jpeg_count.py).

The tables of quantization steps and of Huffman codes are checked, too. Some contents are impossible.

This cannot find damage that leaves the number of blocks as it was, as a single wrong bit often does, nor wrong numbers
in a table that could be right, nor that a progressive file was cut exactly behind one of its scans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from data.jpeg_codes import NO_TABLE, NonZero, Scan, Table, has_zeros, read, table
from data.jpeg_count import is_suspicious

END, RESTART_INTERVAL, QUANTIZATION, HUFFMAN, SCAN = 0xD9, 0xDD, 0xDB, 0xC4, 0xDA  # markers: the byte after FF
ALONE = {0x01, 0xD8}  # markers without content
SEQUENTIAL, PROGRESSIVE = {0xC0, 0xC1}, 0xC2  # the frames whose codes are read
OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # Pillow's decoder knows arithmetic ones
LARGE = 20_000  # bytes; to read so many codes takes 5 ms, of a progressive file 14 ms
MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


class Frame(NamedTuple):
    """The pixels that the scans describe."""

    progressive: bool
    height: int
    width: int
    sampling: dict[int, tuple[int, int]]  # how many blocks of each component a unit has, across and down


class HuffmanTable(NamedTuple):
    """A Huffman table as the file has it."""

    counts: bytes
    symbols: bytes


def damage(content: bytes) -> str:
    """What is wrong with the content of a JPEG file; empty if nothing is. Raises ValueError if a part is missing."""
    try:
        scans = list(_scans(content))
        if any(map(has_zeros, scans)):
            return "a part of its pixels was overwritten with zeros"
        if len(content) > LARGE and not is_suspicious(content, scans):
            return ""
        nonzero: NonZero = {}
        return next(filter(None, (read(scan, nonzero) for scan in scans)), "")
    except LookupError:  # a structure that is not understood here, as without Huffman tables
        return ""


def _scans(content: bytes) -> Iterator[Scan]:
    """The scans before the end-of-image marker. Raises ValueError if that is missing, or if a table is impossible."""
    tables: dict[str, HuffmanTable] = {}
    frame, interval, place, sent = None, 0, 2, set[int]()
    while found := MARKER.search(content, place):
        marker, place = found[0][-1], found.end()
        if marker == END:
            if frame and sent < frame.sampling.keys():
                raise ValueError("a part of its pixels is missing")
            return
        if marker in ALONE:
            continue
        length = int.from_bytes(content[place : place + 2])
        segment, place = content[place + 2 : place + length], place + length
        if place > len(content):
            break
        if marker == HUFFMAN:
            tables = tables | dict(_huffman_tables(segment))
            if any(map(_is_impossible, tables.values())):
                raise ValueError("a table of its codes was overwritten")
        elif marker == QUANTIZATION:
            if _has_zero(segment):
                raise ValueError("a quantization table was overwritten")
        elif marker == RESTART_INTERVAL:
            interval = int.from_bytes(segment[:2])
        elif marker in SEQUENTIAL or marker == PROGRESSIVE:
            frame = _frame(segment, marker == PROGRESSIVE)
        elif marker in OTHER_FRAMES:
            raise LookupError
        elif marker == SCAN:
            if frame is None:
                raise LookupError
            following = MARKER.search(content, place)
            start, place = place, following.start() if following else len(content)
            scan = _scan(start, content[start:place], segment, frame, tables, interval)
            sent |= set(scan.components)
            yield scan
    raise ValueError("its end is missing")


def _has_zero(segment: bytes) -> bool:
    """Whether there is a zero among the quantization steps: all coefficients would be zero (T.81, B.2.4.1)."""
    place = 0
    while place < len(segment):
        size = 2 if segment[place] >> 4 else 1  # bytes of a number
        numbers = segment[place + 1 : place + 1 + 64 * size]
        if any(not any(parts) for parts in zip(*(numbers[i::size] for i in range(size)), strict=False)):
            return True
        place += 1 + 64 * size
    return False


def _huffman_tables(segment: bytes) -> Iterator[tuple[str, HuffmanTable]]:
    """The Huffman tables of a segment with their names, as in `ac1`."""
    place = 0
    while place < len(segment):
        kind, counts = segment[place], segment[place + 1 : place + 17]
        symbols = segment[place + 17 : place + 17 + sum(counts)]
        yield f"{'ac' if kind >> 4 else 'dc'}{kind & 15}", HuffmanTable(counts, symbols)
        place += 17 + sum(counts)


@lru_cache
def _is_impossible(each: HuffmanTable) -> bool:
    """Whether a table has a symbol twice, lacks some, or has more codes than there are."""
    used = sum(count << 15 - i for i, count in enumerate(each.counts))
    return used > 1 << 16 or len(set(each.symbols)) < sum(each.counts)


def _frame(segment: bytes, progressive: bool) -> Frame:
    sampling = {segment[i]: (segment[i + 1] >> 4, segment[i + 1] & 15) for i in range(6, 6 + 3 * segment[5], 3)}
    return Frame(progressive, int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5]), sampling)


def _scan(
    start: int, codes: bytes, segment: bytes, frame: Frame, tables: dict[str, HuffmanTable], interval: int
) -> Scan:
    """The scan whose segment this is, with the codes that follow it."""
    names = {segment[i]: segment[i + 1] for i in range(1, 1 + 2 * segment[0], 2)}
    first, last, bits = segment[1 + 2 * segment[0] :][:3]
    refines = frame.progressive and bits >> 4 > 0

    def built(name: str, needed: bool) -> Table:
        return table(*tables[name], name.startswith("dc"), frame.progressive) if needed else NO_TABLE

    pairs = {
        component: (
            built(f"dc{each >> 4}", not frame.progressive or (first == 0 and not refines)),
            built(f"ac{each & 15}", not frame.progressive or first > 0),
        )
        for component, each in names.items()
    }
    components, units = _layout(frame, list(names))
    blocks = tuple(pairs[component] for component in components)
    return Scan(start, codes, components, blocks, units, interval, frame.progressive, (first, last), refines)


def _layout(frame: Frame, components: list[int]) -> tuple[tuple[int, ...], int]:
    """The component of each block of a unit, and the number of units, of a scan with these components."""
    across, down = (max(factors) for factors in zip(*frame.sampling.values(), strict=True))
    if len(components) > 1:
        blocks = tuple(each for each in components for _ in range(frame.sampling[each][0] * frame.sampling[each][1]))
        return blocks, _ceil(frame.width, 8 * across) * _ceil(frame.height, 8 * down)
    h, v = frame.sampling[components[0]]
    return tuple(components), _ceil(_ceil(frame.width * h, across), 8) * _ceil(_ceil(frame.height * v, down), 8)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
