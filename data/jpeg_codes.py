"""Reading the Huffman codes of a JPEG file, to see whether they describe its blocks and nothing else.

A scan is one row of codes. Where one begins is known only once the code before it is read, so this goes through a loop
of Python. Sequential files have the whole block in one scan (ITU-T T.81, 1992, annex F.2.2). Progressive files send a
band of its coefficients at a time: first their leading bits, then the bits below one after the other (annex G.1.2).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SPARE = 4  # bytes left over that are no damage: some cameras write them
ZEROS = bytes(16)  # left by a copy that skipped a part; no image has so many, except where zero bits end a block
BLOCK = 64  # coefficients
NO_CODE = 255  # in a table: no code begins with these bits
TOO_FAR = 2 * BLOCK  # coefficients: what is written for a code that no encoder writes
LONGEST = 4 * BLOCK  # bytes of a block: codes and values of at most 16 bits each
RESTART = re.compile(rb"\xff[\xd0-\xd7]")

MISSING = "a part of its pixels is missing"
OVERWRITTEN = "a part of its pixels was overwritten"
TOO_MUCH = "it holds more than its pixels"


class Table(NamedTuple):
    """A Huffman table. Its codes are numbered in the order of their length."""

    first: np.ndarray  # uint8 (2^16,): for each value of the next 16 bits, the code that they begin with, or NO_CODE
    bits: list[int]  # for each code, its length and that of the value behind it
    steps: list[int]  # for each code, how many coefficients it stands for; 0: it ends the block, and maybe others
    runs: list[int]  # for each code, how many of these are zeros; where it ends blocks, the bits that tell how many
    values: list[int]  # for each code, 1 if it brings a coefficient that is not zero


NO_TABLE = Table(np.empty(0, np.uint8), [], [], [], [])


class Scan(NamedTuple):
    """One row of codes, and what is to be known of it."""

    start: int  # its first byte in the file
    codes: bytes
    components: tuple[int, ...]  # of each block of a unit
    tables: tuple[tuple[Table, Table], ...]  # for the first and the other coefficients of each; NO_TABLE: not needed
    units: int  # how many units there are
    interval: int  # units between two restart markers; 0: there are none
    progressive: bool
    band: tuple[int, int]  # the first and the last coefficient
    refines: bool  # whether these coefficients were sent before, without this bit

    @property
    def intervals(self) -> int:
        """How many parts the restart markers must leave."""
        return -(-self.units // (self.interval or self.units))


NonZero = dict[int, list[int]]  # for each component and block, a bit for each coefficient that is not zero


@lru_cache(maxsize=16)  # most files have the same four
def table(counts: bytes, symbols: bytes, dc: bool, progressive: bool) -> Table:
    """The table with `counts[i]` codes of i + 1 bits, which stand for the `symbols` (T.81, annex C)."""
    first = np.full(1 << 16, NO_CODE, np.uint8)
    bits, steps, runs, values = [0] * 256, [TOO_FAR] * 256, [0] * 256, [0] * 256
    number = begin = 0
    for length, count in enumerate(counts, start=1):
        for symbol in symbols[number : number + count]:
            zeros, size = (0, symbol) if dc else (symbol >> 4, symbol & 15)
            first[begin : begin + (1 << 16 - length)] = number
            bits[number], runs[number], values[number] = length + size, zeros, int(size > 0)
            if size <= (11 if dc else 10):  # bits; pixels of 8 bits have no greater coefficients
                steps[number] = zeros + 1
            if not dc and size == 0 and zeros < 15:
                steps[number] = 0 if progressive or zeros == 0 else TOO_FAR
                bits[number] += zeros
            number, begin = number + 1, begin + (1 << 16 - length)
    return Table(first, bits, steps, runs, values)


def has_zeros(scan: Scan) -> bool:
    """Whether there are more zeros among the codes than any image has."""
    acs = [ac for _, ac in scan.tables if ac is not NO_TABLE and not scan.refines]
    return any(ac.steps[ac.first[0]] for ac in acs) and ZEROS in scan.codes


def read(scan: Scan, nonzero: NonZero) -> str:
    """What is wrong with the codes of a scan; empty if nothing is. `nonzero` is what the scans before it left."""
    parts, interval = RESTART.split(scan.codes), scan.interval or scan.units
    if len(parts) != scan.intervals:
        return "a restart marker is missing, or there is one too many"
    for i, part in enumerate(parts):
        plain = part.replace(b"\xff\x00", b"\xff")  # FF among the codes is followed by 00
        units = range(i * interval, min(scan.units, (i + 1) * interval))
        problem = _read_part(plain, units, scan, nonzero)
        if problem:
            return problem
    return ""


def _read_part(codes: bytes, units: range, scan: Scan, nonzero: NonZero) -> str:
    """The same for the codes between two restart markers."""
    following, end = _next_bits(codes), 8 * len(codes)
    if not scan.progressive:
        place = _sequential(following, end, scan, len(units))
    elif scan.band[0] == 0:
        place = len(units) * len(scan.components) if scan.refines else _first_dc(following, end, scan, len(units))
    else:
        ((_, ac),), (component,) = scan.tables, scan.components
        masks = nonzero.setdefault(component, [0] * scan.units)
        place = (_refined_ac if scan.refines else _first_ac)(following, end, ac, scan.band, units, masks)
    if place < 0:
        return OVERWRITTEN
    if place > end:
        return MISSING
    return TOO_MUCH if end - place >= 8 * (SPARE + 1) else ""


def _sequential(following: np.ndarray, end: int, scan: Scan, units: int) -> int:
    """The bit at which the codes of whole blocks end; beyond the end if some are missing, -1 if some are wrong."""
    acs = {id(ac): ac for _, ac in scan.tables}
    at = {name: ac.first[following].tobytes() for name, ac in acs.items()}  # the codes, by their first bit
    unit = [(dc, dc.first.data, at[id(ac)], ac.bits, ac.steps) for dc, ac in scan.tables]
    next_bits, place = following.data, 0
    for dc, dc_first, ac_at, bits, steps in unit * units:
        if place >= end:
            return end + 1
        code = dc_first[next_bits[place]]
        place, coefficients = place + dc.bits[code], dc.steps[code]
        while coefficients < BLOCK:
            code = ac_at[place]
            place += bits[code]
            step = steps[code]
            if not step:
                break
            coefficients += step
        else:
            if coefficients > BLOCK:
                return -1
    return place


def _first_dc(following: np.ndarray, end: int, scan: Scan, units: int) -> int:
    """The same where each block has its first coefficient only."""
    next_bits, place = following.data, 0
    for first, bits, steps in [(dc.first.data, dc.bits, dc.steps) for dc, _ in scan.tables] * units:
        if place >= end:
            return end + 1
        code = first[next_bits[place]]
        if steps[code] > 1:
            return -1
        place += bits[code]
    return place


def _first_ac(
    following: np.ndarray, end: int, ac: Table, band: tuple[int, int], blocks: range, nonzero: list[int]
) -> int:
    """The same for the leading bits of a band of coefficients. Notes those that are not zero."""
    at, next_bits = ac.first[following].tobytes(), following.data
    _, bits, steps, runs, values = ac
    place, block = 0, blocks.start
    while block < blocks.stop:
        if place >= end:
            return end + 1
        coefficient, mask, ended = band[0], 0, 1
        while coefficient <= band[1]:
            code = at[place]
            place += bits[code]
            step = steps[code]
            if not step:
                ended = _ended_blocks(next_bits, place, runs[code])
                break
            mask |= values[code] << coefficient + runs[code]
            coefficient += step
        else:
            if coefficient > band[1] + 1:
                return -1
        nonzero[block] |= mask
        block += ended
    return place if block == blocks.stop else -1


def _refined_ac(
    following: np.ndarray, end: int, ac: Table, band: tuple[int, int], blocks: range, nonzero: list[int]
) -> int:
    """The same for one more bit of a band: behind each code, a bit for each coefficient it passes that is not zero."""
    at, next_bits = ac.first[following].tobytes(), following.data
    _, bits, steps, runs, values = ac
    place, ended, inside = 0, 0, (2 << band[1]) - 1
    for block in blocks:
        if place >= end and (not ended or nonzero[block] & inside >> band[0]):
            return end + 1
        coefficient, before, after = band[0], nonzero[block] & inside, 0
        while not ended and coefficient <= band[1]:
            code = at[place]
            place += bits[code]
            if not steps[code]:
                ended = _ended_blocks(next_bits, place, runs[code])
                break
            zeros = runs[code] if steps[code] < TOO_FAR else BLOCK
            while coefficient <= band[1] and (zeros or before >> coefficient & 1):
                if before >> coefficient & 1:
                    place += 1
                else:
                    zeros -= 1
                coefficient += 1
            if coefficient > band[1]:
                return -1
            after |= values[code] << coefficient
            coefficient += 1
        if ended:
            place += (before >> coefficient).bit_count()
            ended -= 1
        nonzero[block] |= after
    return -1 if ended else place


def _ended_blocks(next_bits: memoryview, place: int, size: int) -> int:
    """How many blocks a code ends that has `size` bits behind it, the last of them before `place`."""
    return (1 << size) + (next_bits[place - size] >> 16 - size)


def _next_bits(codes: bytes) -> np.ndarray:
    """The 16 bits that follow each bit, uint16 (bits + a block,); the last codes are followed by ones."""
    ahead = np.frombuffer(codes + b"\xff" * (LONGEST + 2), np.uint8).astype(np.uint32)
    three = ahead[:-2] << 16 | ahead[1:-1] << 8 | ahead[2:]
    return (three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)).astype(np.uint16).ravel()
