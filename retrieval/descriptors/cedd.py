"""CEDD, colour and edge directivity: 6 kinds of edge x 24 fuzzy colours; one half of JCD.

S. A. Chatzichristofis and Y. S. Boutalis, "CEDD: Color and Edge Directivity Descriptor", ICVS 2008.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.blocks import block_sums
from retrieval.descriptors.fuzzy_color import fuzzy_color

# fmt: off
_QUANTISATION = np.array([
    [180.19686541079636, 23730.024499150866, 61457.152912541605, 113918.55437576842,
     179122.46400035513, 260980.3325940354, 341795.93301552488, 554729.98648386425],
    [209.25176965926232, 22490.5872862417345, 60250.8935141849988, 120705.788057580583,
     181128.08709063051, 234132.081356900555, 325660.617733105708, 520702.175858657472],
    [405.4642173212585, 4877.9763319071481, 10882.170090625908, 18167.239081219657,
     27043.385568785292, 38129.413201299016, 52675.221316293857, 79555.402607004813],
    [968.88475977695578, 10725.159033657819, 24161.205360376698, 41555.917344385321,
     62895.628446402261, 93066.271379694881, 136976.13317822068, 262897.86056221306],
])[[0, 1, 2, 2, 3, 3]] / 1e6
# fmt: on
"""Eight representative values for each row of 24 bins: (6, 8)."""


def cedd(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Six rows of 24 values 0..7: (h, w, 3) uint8 -> (6, 24) float64.

    Rows: no edge, non-directional, horizontal, vertical, 45 and 135 degrees.
    """
    histogram = np.zeros((6, 24))
    _histogram(rgb, histogram)
    return quantised(histogram, _QUANTISATION)


def quantised(histogram: NDArray[np.float64], representatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Index of the nearest representative of each bin's share, the first of equally near ones.

    histogram (r, 24), representatives (r, 8) -> (r, 24) float64; an empty histogram gives zeros.
    """
    total = histogram.ravel().cumsum()[-1]  # a sequential sum; np.sum adds in pairs and rounds otherwise
    if total == 0:
        return np.zeros_like(histogram)
    away = np.abs(histogram[:, :, None] / total - representatives[:, None, :])
    nearest: NDArray[np.float64] = away.argmin(axis=2).astype(np.float64)
    return nearest


@compiled
def block_grid(width: int, height: int) -> tuple[int, int, int, int]:
    """Size of a block and number of blocks along x and y; what the blocks leave over is not looked at."""
    shorter = min(width, height)
    if shorter < 40:
        return 2, 2, width // 2, height // 2
    n = 40 if shorter >= 80 else 20
    return width // n & ~1, height // n & ~1, n, n


@compiled
def _histogram(rgb: NDArray[np.uint8], histogram: NDArray[np.float64]) -> None:
    height, width, _ = rgb.shape
    size_x, size_y, blocks_x, blocks_y = block_grid(width, height)
    root = math.sqrt(2.0)
    colors = np.empty(24)
    lumas = np.empty((2, 2))
    strengths = np.empty(5)
    for top in range(0, blocks_y * size_y, size_y):
        for left in range(0, blocks_x * size_x, size_x):
            fuzzy_color(*block_sums(rgb, top, left, size_y, size_x, False, lumas), colors)
            means = np.trunc(lumas * (4.0 / (size_x * size_y)))
            a1, a2, a3, a4 = means[0, 0], means[0, 1], means[1, 0], means[1, 1]
            strengths[0] = abs(2.0 * a1 - 2.0 * a2 - 2.0 * a3 + 2.0 * a4)
            strengths[1] = abs(a1 + a2 - a3 - a4)
            strengths[2] = abs(a1 - a2 + a3 - a4)
            strengths[3] = abs(root * a1 - root * a4)
            strengths[4] = abs(root * a2 - root * a3)
            strongest = strengths.max()
            if strongest < 14.0:
                histogram[0] += colors
            else:
                for k in range(5):
                    if strengths[k] / strongest > (0.68 if k == 0 else 0.98):
                        histogram[k + 1] += colors
