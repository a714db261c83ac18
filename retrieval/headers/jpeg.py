"""JPEG (ITU-T T.81): segments before the first scan, number of scans, and the blocks that the scans must hold.

Pillow reads the segments before the first scan in Python, one by one; libjpeg passes over all blocks for every scan,
however little the scan says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.headers.limits import MAX_JUNK, Claim, CostlyPictureError, require_enough, require_size, too_many

MAX_SCANS = 200
"""libjpeg's scripts make 10 scans, mozjpeg's about 20."""
MAX_BLOCK_VISITS = 64_000_000
"""Scans times blocks, 7 ns each; a progressive 4:4:4 JPEG of 64 megapixels has 14 million."""
_MAX_EXIF = 64
"""EXIF segments, which Pillow concatenates one by one."""
_MAX_TABLES = 65_536
"""Bytes of quantisation tables and frame headers; four tables and one header are 600."""
_MAX_RESOURCES = 20_000
"""Photoshop's image resources, which Pillow parses one by one."""

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_ALONE = frozenset((0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
"""Markers without a length, or whose length Pillow does not read."""
_FILL = re.compile(rb"\xff{1,%d}" % (MAX_JUNK + 2))
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What may not stand within a scan: a marker that is no restart."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Frame:
    """A frame header. blocks: 8x8 blocks of all components. excess: as a claim's."""

    marker: int
    width: int
    height: int
    blocks: int
    excess: bool = False


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a JPEG. Raises PictureTooLargeError, CostlyPictureError, BrokenPictureError."""
    walked = _walk(data, max_pixels)
    if walked is None:
        return Claim()  # which Pillow rejects
    frame, scans, stored = walked
    if frame.marker not in _ARITHMETIC:
        # A Huffman code has at least one bit; a block has a DC code and, unless the scans part them, an AC code.
        bits = 1 if frame.marker in _PROGRESSIVE else 2
        require_enough(stored, bits * frame.blocks / 8, frame.width, frame.height)
    pixels = frame.width * frame.height
    return Claim(frame.width, frame.height, seconds=1e-8 * (pixels + scans * frame.blocks), excess=frame.excess)


def examine_start(start: bytes, max_pixels: int) -> None:
    """Raise PictureTooLargeError or CostlyPictureError where the first bytes alone are those of such a JPEG."""
    _walk(start, max_pixels)


def _walk(data: bytes, max_pixels: int) -> tuple[_Frame, int, int] | None:
    """The frame header, how many scans there are and bytes of them; None where the file ends before, or has no blocks.

    Raises PictureTooLargeError, CostlyPictureError.
    """
    frame, scan = _head(data)
    if frame is None or not frame.blocks or scan < 0:
        return None
    require_size(frame.width, frame.height, max_pixels)
    after = _MARKER.search(data, scan + 2)
    if after is None or after[0] == b"\xff\xd9":
        return frame, 1, (len(data) if after is None else after.start()) - scan
    return frame, _scans(data, scan, frame), len(data) - scan


def _head(data: bytes) -> tuple[_Frame | None, int]:
    """The frame header, and where the first scan begins or -1. Raises CostlyPictureError."""
    at, junk, parts, exif, tables = 2, 0, 0, 0, 0
    frame, length = None, len(data)
    while True:
        start = data.find(b"\xff", at)
        if start < 0:
            return frame, -1
        fill = _FILL.match(data, start)
        marker_at = fill.end() if fill else length
        junk += marker_at - 1 - at
        if junk > MAX_JUNK:
            raise CostlyPictureError(
                f"the JPEG has more than {MAX_JUNK:,} fill bytes between its segments; save it anew"
            )
        if marker_at >= length:
            return frame, -1
        marker, at = data[marker_at], marker_at + 1
        if marker == 0xDA:
            break
        if marker in _ALONE or marker == 0:
            junk += 2
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        parts += 1
        if marker in _SOF or marker == 0xDB:
            tables += end - at
            if marker != 0xDB:
                frame = _frame(marker, data[at + 2 : end])
        elif marker == 0xE1:
            exif += data.startswith(b"Exif", at + 2)
        if too_many(parts, at) or tables > _MAX_TABLES:
            raise CostlyPictureError(f"the JPEG has too many segments before its pixels ({parts:,}); save it anew")
        at = max(end, at)
    resources = data.count(b"8BIM", 0, at) if parts > 4 and frame is not None else 0
    if frame is not None and (exif > _MAX_EXIF or resources > _MAX_RESOURCES):
        frame = replace(frame, excess=True)
    return frame, at


def _frame(marker: int, body: bytes) -> _Frame | None:
    if len(body) < 6:
        return None
    height, width, count = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), body[5]
    factors = [(body[at] >> 4, body[at] & 15) for at in range(7, min(len(body), 6 + 3 * count), 3)]
    if not factors or any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        return _Frame(marker, width, height, 0)
    most_h, most_v = max(h for h, _ in factors), max(v for _, v in factors)
    blocks = sum(-(-width * h // (8 * most_h)) * -(-height * v // (8 * most_v)) for h, v in factors)
    return _Frame(marker, width, height, blocks)


def _scans(data: bytes, scan: int, frame: _Frame) -> int:
    """How many scans the picture has. Raises CostlyPictureError beyond the limits."""
    count, parts, at = 1, 0, scan
    for begin in range(scan, len(data), _PIECE):
        places, markers = _markers(data, begin)
        row = int(np.searchsorted(places, at + 1))
        while row < len(places):
            marker, at = int(markers[row]), int(places[row]) + 1
            if marker == 0xD9:
                return count
            if marker not in _ALONE:
                at += int.from_bytes(data[at : at + 2], "big")
            count += marker == 0xDA
            parts += 1
            if count > MAX_SCANS or count * frame.blocks > MAX_BLOCK_VISITS or too_many(parts, at):
                raise CostlyPictureError(
                    f"the JPEG has {count:,} scans or more for {frame.width}x{frame.height} pixels; save it anew"
                )
            row = int(np.searchsorted(places, at + 1))
    return count


def _markers(data: bytes, begin: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Places and values (n,) of bytes that follow 0xFF in one piece of a file and are none of 0, 0xFF and restarts."""
    piece = np.frombuffer(data, np.uint8, min(_PIECE + 1, len(data) - begin), begin)
    places = np.flatnonzero(piece[:-1] == 0xFF) + 1
    values = piece[places]
    real = (values != 0) & (values != 0xFF) & ((values & 0xF8) != 0xD0)
    return places[real] + begin, values[real]
