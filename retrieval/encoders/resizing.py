"""Bilinear and bicubic resampling, bit-identical to Pillow's in about a third of its time.

Decoding and resizing compete with the encoder for the cores, so their time is the indexer's overhead. A single query is
resized by Pillow itself, which saves loading the compiler.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.compilation import compiled
from retrieval.field_of_view import DARK, field_within
from retrieval.pixel_memory import packed_pixels

_BITS = 22
"""Fractional bits of Pillow's fixed point: 32 less 8 for the value and 2 for the overshoot of negative weights."""
_MAX_SHRINK = 4
"""Largest reduction that is resized here. Larger ones, enlargements and pictures relatively narrower than the target
are left to Pillow, whose order of the two passes differs there."""
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
"""Half the width of each filter, in source pixels without shrinking."""


def resize(image: Image.Image, size: tuple[int, int], interpolation: str, field: bool = False) -> NDArray[np.uint8]:
    """Resize an RGB picture to (width, height): (height, width, 3) uint8, equal to `image.resize`.

    field: its field of view alone, equal to `crop_to_field(image).resize`.
    """
    width, height = size
    if image.mode != "RGB":
        return np.asarray(image.resize(size, Image.Resampling[interpolation.upper()]))
    pixels = packed_pixels(image)
    left, top, right, bottom = field_within(*_lit(pixels, DARK)) if field else (0, 0, *image.size)
    wide, high = right - left, bottom - top
    shrinks = width <= wide <= _MAX_SHRINK * width and height <= high <= _MAX_SHRINK * height
    widely = wide >= high and wide * height >= high * width
    if interpolation not in _SUPPORT or not (shrinks and widely):
        cut = image if (wide, high) == image.size else image.crop((left, top, right, bottom))
        return np.asarray(cut.resize(size, Image.Resampling[interpolation.upper()]))
    pixels = pixels[top:bottom, left:right]
    if wide != width:
        pixels = _resample_columns(pixels, *_weights(wide, width, interpolation))
    if high != height:
        pixels = _resample_rows(pixels, *_weights(high, height, interpolation))
    return _unpacked(pixels)


@lru_cache(64)
def _weights(source: int, target: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """First source index (target,) int64 and fixed-point weights (target, taps) int32 of each target sample.

    When shrinking, the filter widens with the scale, which prevents aliasing. Weights outside the picture are dropped
    and the others renormalised.
    """
    scale = source / target
    wider = max(scale, 1.0)
    support = _SUPPORT[interpolation] * wider
    first = np.zeros(target, np.int64)
    weights = np.zeros((target, 2 * math.ceil(support) + 1), np.int32)
    for at in range(target):
        center = (at + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), source)
        taps = [_filter(interpolation, (x - center + 0.5) * (1.0 / wider)) for x in range(low, high)]
        total = sum(taps)
        first[at] = low
        for tap, value in enumerate(taps):
            share = value / total * (1 << _BITS)
            weights[at, tap] = int(share - 0.5) if share < 0 else int(share + 0.5)
    return first, weights


def _filter(interpolation: str, x: float) -> float:
    """Triangle, or Keys' cubic with a = -0.5 (Keys, IEEE Trans. ASSP 29(6), 1981)."""
    x = abs(x)
    if interpolation == "bilinear":
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0) if x < 2.0 else 0.0


@compiled
def _lit(pixels: NDArray[Any], dark: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # pragma: no cover
    """How many pixels of each row and of each column of packed pixels have a channel above `dark`."""
    height, width = pixels.shape
    rows, columns = np.zeros(height, np.int64), np.zeros(width, np.int64)
    counts = np.zeros(width, np.int32)
    lowest = np.uint32(dark)
    for y in range(height):
        count = np.int32(0)
        for x in range(width):
            pixel = pixels[y, x]
            red, green = pixel & np.uint32(255), (pixel >> np.uint32(8)) & np.uint32(255)
            blue = (pixel >> np.uint32(16)) & np.uint32(255)
            lit = np.int32((red > lowest) | (green > lowest) | (blue > lowest))
            count += lit
            counts[x] += lit
        rows[y] = count
    columns[:] = counts
    return rows, columns


@compiled
def _resample_columns(
    pixels: NDArray[Any], first: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.uint32]:  # pragma: no cover
    """Resample packed pixels along the width, (h, w) -> (h, targets).

    Strips of 32 rows are transposed, so that the 128 values of a column are one after the other for the compiler to
    vectorise, and stay in the cache.
    """
    height, width = pixels.shape
    targets, most = weights.shape
    out = np.empty((height, targets), np.uint32)
    strip = np.zeros((width, 32), np.uint32)
    values = strip.view(np.uint8)
    total = np.empty(128, np.int32)
    made = np.empty(32, np.uint32)
    channels = made.view(np.uint8)
    for y0 in range(0, height, 32):
        rows = min(32, height - y0)
        for x0 in range(0, width, 16):
            for y in range(rows):
                for x in range(x0, min(x0 + 16, width)):
                    strip[x, y] = pixels[y0 + y, x]
        for at in range(targets):
            total[:] = 1 << 21
            for tap in range(min(most, width - first[at])):
                weight = weights[at, tap]
                if weight != 0:
                    column = values[first[at] + tap]
                    for i in range(128):
                        total[i] += weight * np.int32(column[i])
            for i in range(128):
                channels[i] = min(max(total[i] >> 22, 0), 255)
            for y in range(rows):
                out[y0 + y, at] = made[y]
    return out


@compiled
def _resample_rows(
    pixels: NDArray[Any], first: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.uint32]:  # pragma: no cover
    """Resample packed pixels along the height, (h, w) -> (targets, w), row by row, for the compiler to vectorise."""
    height, width = pixels.shape
    out = np.empty((len(first), width), np.uint32)
    channels = out.view(np.uint8)
    total = np.empty(4 * width, np.int32)
    for at in range(len(first)):
        total[:] = 1 << 21
        for tap in range(min(weights.shape[1], height - first[at])):
            weight = weights[at, tap]
            if weight != 0:
                row = pixels[first[at] + tap].view(np.uint8)
                for i in range(4 * width):
                    total[i] += weight * np.int32(row[i])
        for i in range(4 * width):
            channels[at, i] = min(max(total[i] >> 22, 0), 255)
    return out


@compiled
def _unpacked(pixels: NDArray[Any]) -> NDArray[np.uint8]:  # pragma: no cover
    """Packed pixels (h, w) -> (h, w, 3)."""
    height, width = pixels.shape
    out = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            pixel = pixels[y, x]
            out[y, x, 0] = pixel & np.uint32(255)
            out[y, x, 1] = (pixel >> np.uint32(8)) & np.uint32(255)
            out[y, x, 2] = (pixel >> np.uint32(16)) & np.uint32(255)
    return out
