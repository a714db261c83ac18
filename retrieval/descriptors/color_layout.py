"""ColorLayout: the picture's 8x8 thumbnail in YCbCr as DCT coefficients.

MPEG-7's colour layout descriptor (ISO/IEC 15938-3, 6.6) with 21 coefficients of luma and 6 of each
chroma; E. Kasutani and A. Yamada, "The MPEG-7 color layout descriptor", ICIP 2001.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.native_distance import BLOCK, NativeDistance

_LUMA_COEFFICIENTS, _CHROMA_COEFFICIENTS = 21, 6

_ZIGZAG = np.array([0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40])

_BASIS = np.array(
    [
        [float(f"{0.5 * np.cos((2 * k + 1) * j * np.pi / 16) if j else 0.125**0.5:.7g}") for k in range(8)]
        for j in range(8)
    ]
)
"""DCT basis by [frequency, place], rounded to the seven digits that LIRE writes out."""


def extract(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """33 whole numbers: (h, w, 3) uint8 -> (33,) float32, 21 of Y, 6 of Cb, 6 of Cr.

    0..63 for the three means [0], [21], [27], else 0..31 with 16 for none.
    """
    height, width, _ = rgb.shape
    rows, columns = _cell_starts(height), _cell_starts(width)
    sums = np.zeros((3, 8, 8), dtype=np.int64)
    _cell_sums(rgb, rows, columns, sums)
    counts = np.diff(rows)[:, None] * np.diff(columns)
    y, cb, cr = (_cosine_transform(channel) for channel in sums // np.maximum(counts, 1))
    return np.concatenate(
        [
            [_quantised_luma_mean(y[0])],
            _quantised_detail(y[1:_LUMA_COEFFICIENTS] >> 1),
            [_quantised_chroma_mean(cb[0])],
            _quantised_detail(cb[1:_CHROMA_COEFFICIENTS]),
            [_quantised_chroma_mean(cr[0])],
            _quantised_detail(cr[1:_CHROMA_COEFFICIENTS]),
        ]
    ).astype(np.float32)


def _cell_starts(length: int) -> NDArray[np.int64]:
    """Where each of 8 cells of an axis begins, and the end: the first place p with floor(p / (length / 8)) = cell."""
    side = length / 8.0
    starts = []
    for cell in range(9):
        place = math.ceil(cell * side)
        # The division that LIRE does rounds, the product here otherwise: look on both sides.
        candidates = (p for p in range(max(place - 1, 0), place + 2) if int(p / side) >= cell)
        starts.append(min(next(candidates, length), length))
    return np.array(starts)


@compiled
def _cell_sums(
    rgb: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64], sums: NDArray[np.int64]
) -> None:
    for row in range(8):
        for y in range(rows[row], rows[row + 1]):
            for column in range(8):
                sum_y = sum_cb = sum_cr = np.int32(0)
                for x in range(columns[column], columns[column + 1]):
                    r, g, b = np.float64(rgb[y, x, 0]), np.float64(rgb[y, x, 1]), np.float64(rgb[y, x, 2])
                    luma = (0.299 * r + 0.587 * g + 0.114 * b) / 256.0
                    sum_y += np.int32(219.0 * luma + 16.5)
                    sum_cb += np.int32(224.0 * 0.564 * (b / 256.0 - luma) + 128.5)
                    sum_cr += np.int32(224.0 * 0.713 * (r / 256.0 - luma) + 128.5)
                sums[0, row, column] += sum_y
                sums[1, row, column] += sum_cb
                sums[2, row, column] += sum_cr


def _cosine_transform(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """First 21 coefficients in zigzag order of an 8x8 picture."""
    # cumsum adds in order; np.sum and matmul add otherwise and round otherwise.
    across = (cells[:, None, :] * _BASIS[None, :, :]).cumsum(axis=2)[:, :, -1]
    down = (across[:, None, :] * _BASIS.T[:, :, None]).cumsum(axis=0)[-1]
    return np.asarray(np.floor(down + 0.499999).ravel()[_ZIGZAG], dtype=np.int64)


def _quantised_luma_mean(coefficient: int) -> int:
    i = int(coefficient) >> 3
    if i > 192:
        i = 112 + ((i - 192) >> 2)
    elif i > 160:
        i = 96 + ((i - 160) >> 1)
    elif i > 96:
        i = i - 64
    elif i > 64:
        i = 16 + ((i - 64) >> 1)
    else:
        i = i >> 2
    return i >> 1


def _quantised_chroma_mean(coefficient: int) -> int:
    i = int(coefficient) >> 3
    if i > 191:
        return 63
    if i > 160:
        return 56 + ((i - 160) >> 2)
    if i > 144:
        return 48 + ((i - 144) >> 1)
    if i > 112:
        return i - 96
    if i > 96:
        return 8 + ((i - 96) >> 1)
    return (i - 64) >> 2 if i > 64 else 0


def _quantised_detail(coefficients: NDArray[np.int64]) -> NDArray[np.int64]:
    size = np.abs(coefficients.clip(-256, 255))
    size = np.where(size > 127, 64 + (size >> 2), np.where(size > 63, 32 + (size >> 1), size))
    return np.asarray((np.sign(coefficients) * size + 128) >> 3)


_WEIGHTS = np.array([2, 2, 2] + [1] * 18 + [2] + [1] * 5 + [4, 2, 2] + [1] * 3, dtype=np.int32)


@compiled
def _three_lengths(
    queries: NDArray[np.uint8],
    gallery: NDArray[np.uint8],
    weights: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Sum of three weighted Euclidean distances, one for each of Y, Cb and Cr."""
    lanes = np.zeros((33, BLOCK), np.int32)
    sums = np.empty(BLOCK, np.int32)
    totals = np.empty(BLOCK)
    for start in range(0, len(gallery), BLOCK):
        count = min(BLOCK, len(gallery) - start)
        for j in range(count):
            for c in range(33):
                lanes[c, j] = gallery[start + j, c]
        for i in range(len(queries)):
            totals[:] = 0.0
            for first, behind in ((0, 21), (21, 27), (27, 33)):
                sums[:] = 0
                for c in range(first, behind):
                    value, weight, row = np.int32(queries[i, c]), weights[c], lanes[c]
                    for j in range(BLOCK):
                        away = np.int32(value - row[j])
                        sums[j] += weight * away * away
                for j in range(BLOCK):
                    totals[j] += math.sqrt(sums[j])
            out[i, start : start + count] = totals[:count]


def _weighted(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """One Euclidean length over all 33: between the native distance over sqrt(3) and the native distance."""
    return vectors * np.sqrt(_WEIGHTS)


DISTANCE = NativeDistance(
    name="lire-color-layout",
    length=33,
    levels=64,
    typical=52.0,
    kernel=_three_lengths,
    coordinates=_weighted,
    proposes_by="L2",
    tables=(_WEIGHTS,),
)
