"""The grey picture that Tamura and PHOG look at: Java's `CS_GRAY`, which is linear light and not luma.

Java asks LittleCMS to convert sRGB to a grey of gamma 1.0 (so 128 becomes 55). LittleCMS 2.9 (November
2017) computes it for each colour, the "modern" map; before, it interpolated in a table of 33x33x33
nodes, the "legacy" map, which differs by one level in 4.5 % of the 2^24 colours. Features that were
shipped before that date need the legacy map.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.variant import Grey

_ENCODING = 1 + 32767 / 32768
"""LittleCMS's largest XYZ value in its 16-bit encoding."""

_LUMINANCE = (14574, 46992, 3971)
"""Y row of Java's sRGB matrix, in 65536ths."""


def grey_columns(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.uint8]:
    """Grey map of a picture, transposed: (h, w, 3) uint8 -> (w, h) uint8.

    Both descriptors that use it add up with x as the outer loop, and a sum of doubles depends on its
    order; so it is stored by columns.
    """
    columns = np.empty((rgb.shape[1], rgb.shape[0]), dtype=np.uint8)
    if grey == "modern":
        _modern(rgb, _shares(), columns)
    else:
        _legacy(rgb, _shares(), _cells(), _nodes(), columns)
    return columns


def _linear_light(p: NDArray[np.int64]) -> NDArray[np.float64]:
    """Linear light, rounded to single, of 16-bit values given as p = 1023 * value; a table of 1024 steps."""
    steps = np.arange(1024) / 1023
    table = np.array([n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in steps.tolist()])
    table = np.floor(65535 * table + 0.5).astype(np.int64)
    p = p + (p + 0x7FFF) // 0xFFFF
    cell, rest = p >> 16, p & 0xFFFF
    rise = np.append(np.diff(table), 0)
    linear = table[cell] + ((rise[cell] * rest + 0x8000) >> 16)
    return np.asarray((linear / 65535).astype(np.float32), dtype=np.float64)


def _shares_of(p: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.stack([_linear_light(p) * (share / 65536 / _ENCODING) for share in _LUMINANCE])


@cache
def _shares() -> NDArray[np.float64]:
    """What each of the 256 values of R, G and B adds to Y: (3, 256)."""
    return _shares_of(1023 * 257 * np.arange(256))


@cache
def _nodes() -> NDArray[np.int32]:
    """16-bit grey at the nodes of the legacy table, flat; 34 a side, since 255 looks one past the last."""
    inputs = np.floor(np.arange(33) * 65535 / 32 + 0.5).astype(np.int64)
    red, green, blue = _shares_of(1023 * inputs)
    total = (red[:, None, None] + green[None, :, None]) + blue[None, None, :]
    y = total.astype(np.float32).astype(np.float64)
    y = (y * _ENCODING).astype(np.float32).astype(np.float64)
    grey = np.clip(np.floor(y * 65535 + 0.5), 0, 65535).astype(np.int64)
    return np.pad(grey, (0, 1), mode="edge").astype(np.int32).ravel()


@cache
def _cells() -> NDArray[np.int32]:
    """Place in the legacy table for each value of R, G and B, and the 16-bit rest within it: (4, 256)."""
    f = 32 * 257 * np.arange(256)
    f = f + (f + 0x7FFF) // 0xFFFF
    cell, rest = f >> 16, f & 0xFFFF
    return np.stack([cell * 34 * 34, cell * 34, cell, rest]).astype(np.int32)


# Strips of 16 columns: the transposed writes of a strip stay in the first-level cache.


@compiled
def _wide(shares: NDArray[np.float64], red: int, green: int, blue: int) -> int:
    """16-bit grey of one colour by the modern map."""
    total = (shares[0, red] + shares[1, green]) + shares[2, blue]
    luminance = np.float32(np.float64(np.float32(total)) * 1.999969482421875)
    return min(int(np.float64(luminance) * 65535.0 + 0.5), 65535)


@compiled
def _narrow(wide: int) -> int:
    return (wide * 65281 + 8388608) >> 24


@compiled
def _modern(rgb: NDArray[np.uint8], shares: NDArray[np.float64], columns: NDArray[np.uint8]) -> None:
    height, width, _ = rgb.shape
    for left in range(0, width, 16):
        for y in range(height):
            for x in range(left, min(left + 16, width)):
                columns[x, y] = _narrow(_wide(shares, rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]))


@compiled
def _legacy(
    rgb: NDArray[np.uint8],
    shares: NDArray[np.float64],
    cells: NDArray[np.int32],
    nodes: NDArray[np.int32],
    columns: NDArray[np.uint8],
) -> None:
    height, width, _ = rgb.shape
    for left in range(0, width, 16):
        for y in range(height):
            for x in range(left, min(left + 16, width)):
                red, green, blue = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
                # Over all 2^24 colours the interpolation is 1 below to 25 above the modern map, of 65535:
                # nine times in ten both ends give the same level, and nothing is to interpolate.
                wide = _wide(shares, red, green, blue)
                if _narrow(wide - 1) != _narrow(wide + 25):
                    wide = _interpolated(cells, nodes, red, green, blue)
                columns[x, y] = _narrow(wide)


@compiled
def _interpolated(cells: NDArray[Any], nodes: NDArray[Any], red: int, green: int, blue: int) -> int:
    """16-bit grey of one colour from the legacy table, tetrahedral interpolation."""
    rx, ry, rz = cells[3, red], cells[3, green], cells[3, blue]
    corner = cells[0, red] + cells[1, green] + cells[2, blue]
    # Walk from the cell's corner to the opposite one, along the axis with the largest rest first. Which of
    # two equal rests goes first changes nothing.
    most, least = max(rx, ry, rz), min(rx, ry, rz)
    first = corner + (34 * 34 if rx == most else (34 if ry == most else 1))
    opposite = corner + 34 * 34 + 34 + 1
    second = opposite - (1 if rz == least else (34 if ry == least else 34 * 34))
    c0, c1, c2, c3 = nodes[corner], nodes[first], nodes[second], nodes[opposite]
    middle = rx + ry + rz - most - least
    t = (c1 - c0) * most + (c2 - c1) * middle + (c3 - c2) * least + 0x8001
    return int(c0 + ((t + (t >> 16)) >> 16))
