"""A quick look at the codes of a large JPEG file: whether Pillow's decoder uses all of them, and no more.

The decoder stops where it runs out of bytes, and goes on when it is given more. So it is given the codes piece by
piece. If it is through with a scan before the last bytes of it, codes are left over. If it still waits behind some
additional bytes, codes are missing. It reads up to 8 bytes ahead, so a difference of a few blocks escapes, as do
impossible codes on the way. Reading the codes in Python (data/jpeg_codes.py) finds these, in ten times the time.
"""

from __future__ import annotations

import io

from PIL import Image

from data.jpeg_codes import RESTART, SPARE, Scan

ONES = b"\xff\x00"  # a byte of ones as it stands among codes; no code is all ones, and the decoder takes it for a zero
MORE = 9 * ONES  # one byte more than the decoder reads ahead


class _Decoder:
    """Pillow's decoder of one file, at an eighth of its size, to be given the content piece by piece."""

    def __init__(self, content: bytes) -> None:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            image.draft(None, (1, 1))
            image.load_prepare()
            name, extents, _, arguments = image.tile[0]
            self._decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
            self._decoder.setimage(image.im, extents)
        self._rest, self._finished = b"", False

    def give(self, piece: bytes) -> None:
        if not self._finished:
            self._rest += piece
            taken, _ = self._decoder.decode(self._rest)
            self._finished = taken < 0
            self._rest = self._rest[taken:]

    def waits_for_codes(self, pieces: list[bytes]) -> bool:
        """Whether the decoder is still among codes behind some of these pieces. Else it skips each at once."""
        waits = False
        for piece in pieces:
            self.give(piece)
            waits |= not self._finished and self._rest not in (b"", b"\xff")  # FF may be the first byte of a marker
        return waits


def is_suspicious(content: bytes, scans: list[Scan]) -> bool:
    """Whether codes seem to be missing or left over in one of the scans, or between two restart markers."""
    if not hasattr(Image, "_getdecoder"):  # no public part of Pillow, so it may be gone one day
        return True
    decoder, given = _Decoder(content), 0
    for scan in scans:
        ends = [*(scan.start + found.start() for found in RESTART.finditer(scan.codes)), scan.start + len(scan.codes)]
        if len(ends) != scan.intervals:
            return True
        for end in ends:
            last = max(given, end - SPARE - 1)
            decoder.give(content[given:last])
            if not decoder.waits_for_codes([content[i : i + 1] for i in range(last, end)]):
                return True
            decoder.give(MORE)
            if decoder.waits_for_codes(3 * [ONES]):
                return True
            given = end
    return False
