"""BMP: image data that uncompressed pixels need, and the commands of run lengths, which Pillow decodes in Python."""

from __future__ import annotations

import struct

from retrieval.headers.limits import Claim, CostlyPictureError, require_enough, require_size

_UNCOMPRESSED = (0, 3, 6)
_RLE = (1, 2)
MAX_RLE = 8 * 2**20
"""Bytes of run lengths; Pillow takes about 0.6 µs for two."""


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a BMP. Raises PictureTooLargeError, BrokenPictureError, CostlyPictureError."""
    if len(data) < 34 or struct.unpack_from("<I", data, 14)[0] < 40:
        return Claim()
    start, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    height = abs(height)
    if width <= 0 or not height:
        return Claim()
    require_size(width, height, max_pixels)
    stored = len(data) - start
    if compression in _UNCOMPRESSED:
        row = -(-width * bits // 32) * 4
        require_enough(stored, row * height - row, width, height)  # some writers leave out the last row's padding
    elif compression in _RLE:
        if stored > MAX_RLE:
            raise CostlyPictureError(f"the BMP has {stored:,} bytes of run lengths; save it as PNG")
        return Claim(width, height, blocking=True, seconds=1e-8 * width * height + 3e-7 * stored)
    return Claim(width, height, seconds=1e-8 * width * height)
