"""PNG (ISO/IEC 15948): number of chunks, compressed metadata, and the image data that the pixels need.

Pillow reads every chunk in Python, one by one.
"""

from __future__ import annotations

import struct

from retrieval.headers.limits import Claim, CostlyPictureError, require_enough, require_size, too_many

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEFLATE_RATIO = 1032
"""Most bytes that one byte of a deflate stream stands for (zlib technical details, "Maximum Expansion Factor")."""
_MAX_COMPRESSED = 100
"""Chunks of compressed profiles and texts, each of which Pillow expands to up to 1 MiB."""
_COMPRESSED = (b"iCCP", b"zTXt", b"iTXt")
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by colour type."""


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a PNG. Raises PictureTooLargeError, CostlyPictureError, BrokenPictureError."""
    if len(data) < 29:
        return Claim()
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    require_size(width, height, max_pixels)
    stored, compressed = _walk(data)
    row = 1 + -(-width * depth * _SAMPLES.get(colour, 1) // 8)
    if stored:  # without image data Pillow rejects it
        require_enough(min(stored, len(data)), row * height / DEFLATE_RATIO, width, height)
    return Claim(width, height, seconds=4e-8 * width * height, excess=compressed > _MAX_COMPRESSED)


def examine_start(start: bytes, max_pixels: int) -> None:
    """Raise PictureTooLargeError or CostlyPictureError where the first bytes alone are those of such a PNG."""
    if len(start) >= 29:
        width, height = struct.unpack_from(">II", start, 16)
        require_size(width, height, max_pixels)
        _walk(start)


def _walk(data: bytes) -> tuple[int, int]:
    """Bytes of image data that the chunks state, and how many chunks of compressed metadata there are.

    Raises CostlyPictureError.
    """
    at, parts, compressed, stored, last = len(SIGNATURE), 0, 0, 0, len(data) - 8
    header = struct.Struct(">I4s").unpack_from
    while at <= last:
        length, kind = header(data, at)
        at += 12 + length
        parts += 1
        if kind == b"IDAT":
            stored += length
        elif kind in _COMPRESSED:
            compressed += 1
        elif kind == b"IEND":
            break
        if too_many(parts, at):
            raise CostlyPictureError(f"the PNG has too many chunks ({parts:,} or more); save it anew")
    return stored, compressed
