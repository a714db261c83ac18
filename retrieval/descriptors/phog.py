"""PHOG: histograms of edge directions over a pyramid of 1, 4 and 16 parts of the picture.

A. Bosch, A. Zisserman and X. Munoz, "Representing shape with a spatial pyramid kernel", CIVR 2007;
edges by Sobel and the thinning of J. Canny, "A computational approach to edge detection", PAMI 1986.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.arctangent import arctangent
from retrieval.descriptors.grey import grey_columns
from retrieval.descriptors.native_distance import BLOCK, NativeDistance
from retrieval.descriptors.variant import Grey

_PARTS, _BINS = 21, 30


def extract(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.float32]:
    """630 whole numbers 0..15: (h, w, 3) uint8 -> (630,) float32, [30 * part + bin].

    Parts: the whole, 4 quarters row by row, 16 sixteenths column by column.
    """
    histograms = np.zeros((_PARTS, _BINS))
    _count_edges(grey_columns(rgb, grey), histograms)
    largest = histograms.max(axis=1, keepdims=True)
    scaled = np.floor(15.0 * histograms / np.where(largest > 0, largest, 1.0))
    return np.minimum(scaled, 15).astype(np.float32).ravel()


@compiled
def _sobel(
    grey: NDArray[np.uint8],
    x: int,
    gx: NDArray[np.int32],
    gy: NDArray[np.int32],
    strength: NDArray[np.int32],
) -> None:
    """Gradient of one column, left minus right and upper minus lower, and its squared length."""
    west, here, east = grey[x - 1], grey[x], grey[x + 1]
    for y in range(1, grey.shape[1] - 1):
        nw, n, ne = np.int32(west[y - 1]), np.int32(here[y - 1]), np.int32(east[y - 1])
        w, e = np.int32(west[y]), np.int32(east[y])
        sw, s, se = np.int32(west[y + 1]), np.int32(here[y + 1]), np.int32(east[y + 1])
        dx = np.int32(nw + 2 * w + sw - ne - 2 * e - se)
        dy = np.int32(nw + 2 * n + ne - sw - 2 * s - se)
        gx[y] = dx
        gy[y] = dy
        strength[y] = dx * dx + dy * dy


@compiled
def _count_edges(grey: NDArray[np.uint8], histograms: NDArray[np.float64]) -> None:
    """Add the directions of all edge pixels, x as the outer loop: the sums depend on the order."""
    width, height = grey.shape
    if width < 3 or height < 3:
        return
    # Three columns in turn; the border has no gradient.
    gx = np.zeros((3, height), np.int32)
    gy = np.zeros((3, height), np.int32)
    strength = np.zeros((3, height), np.int32)
    _sobel(grey, 1, gx[1], gy[1], strength[1])
    for x in range(1, width - 1):
        left, middle, right = strength[(x - 1) % 3], strength[x % 3], strength[(x + 1) % 3]
        if x + 1 < width - 1:
            _sobel(grey, x + 1, gx[(x + 1) % 3], gy[(x + 1) % 3], right)
        else:
            right[:] = 0
        for y in range(1, height - 1):
            m = middle[y]
            if m <= 3600:  # a gradient of 60
                continue
            dx, dy = gx[x % 3, y], gy[x % 3, y]
            # tan(pi/8) and tan(3 pi/8) are irrational, and so is no ratio of whole numbers.
            if abs(dy) < abs(dx) * 0.41421356237309503:
                before, behind = left[y], right[y]
            elif abs(dy) > abs(dx) * 2.414213562373095:
                before, behind = middle[y - 1], middle[y + 1]
            elif (dx > 0) == (dy > 0):
                before, behind = left[y - 1], right[y + 1]
            else:
                before, behind = left[y + 1], right[y - 1]
            if m <= before or m <= behind:
                continue
            angle = math.pi / 2 if dx == 0 else arctangent(dy / dx)
            place = (angle / math.pi + 0.5) * 30
            low = int(place)
            # LIRE gives each of the two bins the other one's share.
            low_share = place - low
            high_share = low + 1 - place
            if low_share == 0.0:
                low_share, high_share = 1.0, 0.0
            low_bin, high_bin = low % 30, (low + 1) % 30
            _add(histograms[0], low_bin, low_share, high_bin, high_share)
            half_x, half_y = width // 2, height // 2
            if x < 2 * half_x and y < 2 * half_y:
                part = 1 + x // half_x + 2 * (y // half_y)
                _add(histograms[part], low_bin, low_share, high_bin, high_share)
            half_x, half_y = width // 4, height // 4
            if x < 4 * half_x and y < 4 * half_y:
                part = 5 + 4 * (x // half_x) + y // half_y
                _add(histograms[part], low_bin, low_share, high_bin, high_share)


@compiled
def _add(histogram: NDArray[np.float64], low_bin: int, low_share: float, high_bin: int, high_share: float) -> None:
    histogram[low_bin] += low_share
    histogram[high_bin] += high_share


@compiled
def _city_block(queries: NDArray[np.uint8], gallery: NDArray[np.uint8], out: NDArray[np.float64]) -> None:
    """Sum of absolute differences; whole numbers, so their order does not matter."""
    for start in range(0, len(gallery), BLOCK):
        for i in range(len(queries)):
            query = queries[i]
            for j in range(start, min(start + BLOCK, len(gallery))):
                row = gallery[j]
                total = np.int32(0)
                for c in range(len(row)):
                    # cut to 32 bits at each step, so that the compiler takes the byte instruction for this
                    total = np.int32(total + abs(np.int32(np.int32(query[c]) - np.int32(row[c]))))
                out[i, j] = total


DISTANCE = NativeDistance(
    name="lire-phog",
    length=_PARTS * _BINS,
    levels=16,
    typical=2300.0,
    kernel=_city_block,
    coordinates=np.asarray,
    proposes_by="L1",
)
