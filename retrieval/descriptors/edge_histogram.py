"""EdgeHistogram: how often five kinds of edge occur in each of 4x4 parts of the picture.

MPEG-7's edge histogram descriptor (ISO/IEC 15938-3, 7.4); C. S. Won, D. K. Park and S.-J. Park,
"Efficient use of MPEG-7 edge histogram descriptor", ETRI Journal 24(1), 2002.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.native_distance import BLOCK, NativeDistance

QUANTISATION = np.array(
    [
        [0.010867, 0.057915, 0.099526, 0.144849, 0.195573, 0.260504, 0.358031, 0.530128],  # vertical
        [0.012266, 0.069934, 0.125879, 0.182307, 0.243396, 0.314563, 0.411728, 0.564319],  # horizontal
        [0.004193, 0.025852, 0.046860, 0.068519, 0.093286, 0.123490, 0.161505, 0.228960],  # 45 degrees
        [0.004174, 0.025924, 0.046232, 0.067163, 0.089655, 0.115391, 0.151904, 0.217745],  # 135 degrees
        [0.006778, 0.051667, 0.108650, 0.166257, 0.224226, 0.285691, 0.356375, 0.450972],  # no direction
    ]
)
"""Share of blocks that each of the eight levels stands for, by kind of edge: (5, 8)."""


def extract(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """80 whole numbers 0..7: (h, w, 3) uint8 -> (80,) float32, [5 * part + kind], parts row by row."""
    height, width, _ = rgb.shape
    side = max(2 * (math.isqrt(width * height // 1100) // 2), 2)
    edges = np.zeros((16, 5), dtype=np.int64)
    blocks = np.zeros(16, dtype=np.int64)
    _count_edges(rgb, side, edges, blocks)
    with np.errstate(invalid="ignore"):
        shares = edges / blocks[:, None]
    between = (QUANTISATION[:, :-1] + QUANTISATION[:, 1:]) / 2
    # A part without blocks has the share 0/0, which lies below no bound: level 7.
    levels = (~(shares[:, :, None] <= between)).sum(axis=2)
    return np.asarray(levels.ravel(), dtype=np.float32)


@compiled
def _count_edges(rgb: NDArray[np.uint8], side: int, edges: NDArray[np.int64], blocks: NDArray[np.int64]) -> None:
    height, width, _ = rgb.shape
    half = side // 2
    root = math.sqrt(2.0)
    scale = 4.0 / (side * side)
    upper = np.empty(width, np.int32)
    lower = np.empty(width, np.int32)
    for top in range(0, height - side + 1, side):
        upper[:] = 0
        lower[:] = 0
        for y in range(top, top + half):
            for x in range(width):
                upper[x] += _luma(int(rgb[y, x, 0]), int(rgb[y, x, 1]), int(rgb[y, x, 2]))
        for y in range(top + half, top + side):
            for x in range(width):
                lower[x] += _luma(int(rgb[y, x, 0]), int(rgb[y, x, 1]), int(rgb[y, x, 2]))
        for left in range(0, width - side + 1, side):
            part = 4 * left // width + 4 * (4 * top // height)
            blocks[part] += 1
            m0 = upper[left : left + half].sum() * scale
            m1 = upper[left + half : left + side].sum() * scale
            m2 = lower[left : left + half].sum() * scale
            m3 = lower[left + half : left + side].sum() * scale
            kind = -1
            strongest = 0.0
            strengths = (
                abs(m0 - m1 + m2 - m3),
                abs(m0 + m1 - m2 - m3),
                abs(root * m0 - root * m3),
                abs(root * m1 - root * m2),
                abs(2.0 * m0 - 2.0 * m1 - 2.0 * m2 + 2.0 * m3),
            )
            for k in range(5):
                if strengths[k] > strongest:
                    strongest, kind = strengths[k], k
            if strongest >= 11.0:
                edges[part, kind] += 1


@compiled
def _luma(red: int, green: int, blue: int) -> np.int32:
    return np.int32(219.0 * ((0.299 * red + 0.587 * green + 0.114 * blue) / 256.0) + 16.5)


@compiled
def _weighted_city_block(
    queries: NDArray[np.uint8],
    gallery: NDArray[np.uint8],
    representatives: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Differences of the shares that levels stand for, then of the levels, five times for the first part."""
    shares = np.zeros((80, BLOCK))
    levels = np.zeros((80, BLOCK))
    sums = np.empty(BLOCK)
    for start in range(0, len(gallery), BLOCK):
        count = min(BLOCK, len(gallery) - start)
        for c in range(80):
            for j in range(count):
                level = gallery[start + j, c]
                levels[c, j] = level
                shares[c, j] = representatives[c % 5, level]
        for i in range(len(queries)):
            sums[:] = 0.0
            for c in range(80):
                value, row = representatives[c % 5, queries[i, c]], shares[c]
                for j in range(BLOCK):
                    sums[j] += abs(value - row[j])
            for c in range(80):
                value, row = np.float64(queries[i, c]), levels[c]
                weight = 5.0 if c < 5 else 1.0
                for j in range(BLOCK):
                    sums[j] += weight * abs(value - row[j])
            out[i, start : start + count] = sums[:count]


def _shares_and_levels(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Share plus weighted level: both grow together, so city block over the sum is the native distance."""
    levels = vectors.astype(np.int64)
    weights = np.where(np.arange(80) < 5, 5.0, 1.0)
    return (QUANTISATION[np.arange(80) % 5, levels] + weights * levels).astype(np.float32)


DISTANCE = NativeDistance(
    name="lire-edge-histogram",
    length=80,
    levels=8,
    typical=164.0,
    kernel=_weighted_city_block,
    coordinates=_shares_and_levels,
    proposes_by="L1",
    tables=(QUANTISATION,),
)
