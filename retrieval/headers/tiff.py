"""TIFF: size of the directory, strips and tiles that are listed and lie inside the file, and the bytes they need."""

from __future__ import annotations

import struct

import numpy as np

from retrieval.headers.limits import BrokenPictureError, Claim, CostlyPictureError, require_enough, require_size
from retrieval.headers.png import DEFLATE_RATIO
from retrieval.tiff import TiffDirectory

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANAR = 256, 257, 258, 259, 277, 284
_STRIPS, _ROWS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 273, 278, 279, 322, 323, 324, 325
_MAX_ENTRIES = 4096
_MAX_NUMBERS = 1_000_000
"""Numbers of all entries together, 20 ns each: 65,536 strips have 131,072."""
_MAX_SEGMENTS = 65_536
"""Strips or tiles: one a row for the highest JPEG."""
_MAX_TILE = 64 * 2**20
"""Bytes of one tile, unless the picture has as many."""
_UNCOMPRESSED = 1
_RATIO = {_UNCOMPRESSED: 1, 5: 4096, 7: 1024, 8: DEFLATE_RATIO, 32946: DEFLATE_RATIO, 32773: 64}
"""Most bytes that one byte stands for, by compression: none, LZW (4,096 codes of 12 bits), JPEG, deflate, PackBits."""


def examine(data: bytes, max_pixels: int) -> Claim:
    """The claim of a TIFF. Raises PictureTooLargeError, BrokenPictureError, CostlyPictureError."""
    try:
        directory = TiffDirectory.first(data)
        return Claim() if directory is None else _examine(directory, max_pixels)
    except (struct.error, OverflowError, IndexError):
        return Claim()  # a directory that is cut short, which Pillow rejects


def _examine(directory: TiffDirectory, max_pixels: int) -> Claim:
    data = directory.data
    size, numbers = directory.extent()
    if len(directory.entries) > _MAX_ENTRIES or numbers > _MAX_NUMBERS or size > 2 * len(data):
        raise CostlyPictureError(f"the TIFF's directory has too many entries or values ({numbers:,}); save it anew")
    width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
    if width < 1 or height < 1:
        return Claim()
    require_size(width, height, max_pixels)
    samples = max(1, directory.number(_SAMPLES, 1))  # 0 in a damaged file
    compression = directory.number(_COMPRESSION, _UNCOMPRESSED)
    planes = samples if directory.number(_PLANAR, 1) == 2 else 1
    bits = directory.number(_BITS, 1) * samples // planes
    if directory.values(_TILES):
        across, down = directory.number(_TILE_WIDTH, width), directory.number(_TILE_HEIGHT, height)
        places, lengths = directory.values(_TILES), directory.values(_TILE_BYTES)
    else:
        across, down = width, min(directory.number(_ROWS, height), height)
        places, lengths = directory.values(_STRIPS), directory.values(_STRIP_BYTES)
    if not places or across < 1 or down < 1:
        return Claim(width, height, blocking=True)
    needed = -(-width // across) * -(-height // down) * planes
    if len(places) < needed:
        raise BrokenPictureError(
            f"damaged or truncated: the TIFF lists {len(places):,} of {needed:,} strips or tiles of {width}x{height}"
        )
    if needed > _MAX_SEGMENTS:
        raise CostlyPictureError(f"the TIFF has {needed:,} strips or tiles; save it anew with fewer")
    raw = -(-width * bits // 8) * height * planes
    segment = -(-across * bits // 8) * down
    if segment > max(_MAX_TILE, 2 * raw):
        raise CostlyPictureError(f"the TIFF's tiles of {across}x{down} are larger than its picture; save it anew")
    starts = np.array(places[:needed], np.float64)
    if (starts >= len(data)).any():
        raise BrokenPictureError("damaged or truncated: strips or tiles of the TIFF lie outside the file")
    if (ratio := _RATIO.get(compression)) is not None:
        room = len(data) - starts
        stated = np.array(lengths[:needed], np.float64)
        known = len(stated) == needed and compression != _UNCOMPRESSED  # Pillow reads as much as the pixels take
        stored = np.minimum(stated, room) if known else np.minimum(room, segment)
        require_enough(int(stored.sum()), raw / ratio, width, height)
    return Claim(width, height, blocking=True, seconds=3e-8 * width * height)
