"""WebP (RIFF): number of chunks. A flat lossless picture of any size takes 34 bytes, so bytes say nothing of pixels."""

from __future__ import annotations

import struct

from retrieval.headers.limits import Claim, CostlyPictureError, require_size, too_many


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a WebP. Raises PictureTooLargeError, CostlyPictureError."""
    at, parts, last = 12, 0, len(data) - 8
    header = struct.Struct("<4xI").unpack_from
    while at <= last:
        (length,) = header(data, at)
        at += 8 + length + (length & 1)
        parts += 1
        if too_many(parts, at):
            raise CostlyPictureError(f"the WebP has too many chunks ({parts:,} or more); save it anew")
    width, height = _canvas(data)
    require_size(width, height, max_pixels)
    return Claim(width, height, blocking=True, seconds=5e-8 * width * height)


def _canvas(data: bytes) -> tuple[int, int]:
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X" and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return 0, 0
