"""FCTH, fuzzy colour and texture: 8 kinds of texture x 24 fuzzy colours; one half of JCD.

S. A. Chatzichristofis and Y. S. Boutalis, "FCTH: Fuzzy Color and Texture Histogram", WIAMIS 2008.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.blocks import block_sums
from retrieval.descriptors.cedd import quantised
from retrieval.descriptors.fuzzy_color import fuzzy_color, membership

# fmt: off
_QUANTISATION = np.array([
    [130.0887781556944, 9317.31301788632, 22434.355689233365, 43120.548602722061,
     83168.640165905046, 101430.52589975641, 174840.65838706805, 224480.41479670047],
    [130.0887781556944, 9317.31301788632, 22434.355689233365, 43120.548602722061,
     83168.640165905046, 151430.52589975641, 174840.65838706805, 224480.41479670047],
    [239.769468748322, 17321.704312335689, 39113.643180734696, 69333.512093874378,
     79122.46400035513, 90980.3325940354, 161795.93301552488, 184729.98648386425],
    [180.19686541079636, 23730.024499150866, 41457.152912541605, 53918.55437576842,
     69122.46400035513, 81980.3325940354, 91795.93301552488, 124729.98648386425],
])[[0, 1, 2, 2, 2, 2, 3, 3]] / 1e6
# fmt: on
"""Eight representative values for each row of 24 bins: (8, 8)."""


def fcth(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Eight rows of 24 values 0..7: (h, w, 3) uint8 -> (8, 24) float64.

    Row 4h + 2v + e: high horizontal, vertical and diagonal energy of one Haar step.
    """
    histogram = np.zeros((8, 24))
    _histogram(rgb, histogram)
    return quantised(histogram, _QUANTISATION)


@compiled
def _signed_byte(value: float) -> int:
    """Java's cast of a double to a byte: the low 8 bits of its whole part, as -128..127."""
    low = int(value) & 0xFF
    return low - 256 if low > 127 else low


@compiled
def _high_energy(cells: NDArray[np.float64]) -> tuple[float, float, float]:
    """Energy of the three detail bands of one Haar step over 4x4 cells, indexed [y, x]."""
    first = second = third = 0.0
    for j in range(0, 4, 2):
        for i in range(0, 4, 2):
            p, q, u, v = cells[j, i], cells[j, i + 1], cells[j + 1, i], cells[j + 1, i + 1]
            first += 0.25 * _signed_byte(abs(-p - q + u + v)) ** 2
            second += 0.25 * _signed_byte(abs(p - q + u - v)) ** 2
            third += 0.25 * _signed_byte(abs(-p + q + u - v)) ** 2
    return math.sqrt(first), math.sqrt(second), math.sqrt(third)


@compiled
def _histogram(rgb: NDArray[np.uint8], histogram: NDArray[np.float64]) -> None:
    height, width, _ = rgb.shape
    size_x = max(width // 40 & ~1, 4)
    size_y = max(height // 40 & ~1, 4)
    colors = np.empty(24)
    cells = np.empty((4, 4))
    quarters = np.arange(5)
    areas = np.outer(np.diff(quarters * size_y // 4), np.diff(quarters * size_x // 4))
    # Strictly below: a block that ends at the very edge is left out.
    for top in range(0, height - size_y, size_y):
        for left in range(0, width - size_x, size_x):
            fuzzy_color(*block_sums(rgb, top, left, size_y, size_x, True, cells), colors)
            cells /= areas
            f1, f2, f3 = _high_energy(cells)
            for texture in range(8):
                horizontal = membership(f3, 20, 90, 255, 255) if texture & 4 else membership(f3, 0, 0, 20, 90)
                vertical = membership(f2, 20, 90, 255, 255) if texture & 2 else membership(f2, 0, 0, 20, 90)
                energy = membership(f1, 20, 80, 255, 255) if texture & 1 else membership(f1, 0, 0, 20, 80)
                weight = min(horizontal, vertical, energy)
                if weight > 0.0:
                    histogram[texture] += weight * colors
