"""Tamura: coarseness, contrast and directions of texture.

H. Tamura, S. Mori and T. Yamawaki, "Textural features corresponding to visual perception", IEEE
Transactions on Systems, Man, and Cybernetics 8(6), 1978; as LIRE computes them on a small grey picture.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.arctangent import arctangent
from retrieval.descriptors.grey import grey_columns
from retrieval.descriptors.native_distance import BLOCK, NativeDistance
from retrieval.descriptors.scaling import interpolate, neighbours, scaled_size
from retrieval.descriptors.variant import Grey

_LONGEST = 64
"""Longest side of the grey picture that is looked at, pixels."""


_TILE = 256
"""Side of the part of the picture that coarseness looks at in one go. Only frames so narrow that LIRE does not scale
them are larger."""


def extract(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.float64]:
    """Coarseness, contrast and 16 counts of direction: (h, w, 3) uint8 -> (18,) float64."""
    columns = _small_grey(rgb, grey)
    values = np.zeros(18)
    values[0] = _coarseness(columns)
    values[1] = _contrast(columns)
    _count_directions(columns, values[2:])
    return values


def _small_grey(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.uint8]:
    """Grey picture scaled to a longest side of 64, [x, y]; only the pixels that the scaling touches are made grey."""
    height, width, _ = rgb.shape
    w, h = scaled_size(width, height, _LONGEST)
    if (w, h) == (width, height):
        return grey_columns(rgb, grey)
    left, right, across = neighbours(width, w)
    upper, lower, down = neighbours(height, h)
    touched = rgb[np.concatenate([upper, lower])[:, None], np.concatenate([left, right])]
    columns = grey_columns(touched, grey)[..., None]
    x, y = np.arange(w), np.arange(h)
    return interpolate(columns, (x, w + x, across), (y, h + y, down))[..., 0]


def _coarseness(grey: NDArray[np.uint8]) -> float:
    """Mean over the picture of 4 where the change between windows of 16 beats that of windows of 4, else 2."""
    w, h = grey.shape
    total = 0
    for x in range(1, w - 1, _TILE):
        for y in range(1, h - 1, _TILE):
            # Windows reach from 4 before a point to 15 behind it; indices are clamped to the picture.
            around_x = np.arange(x - 4, min(x + _TILE, w - 1) + 16).clip(0, w - 1)
            around_y = np.arange(y - 4, min(y + _TILE, h - 1) + 16).clip(0, h - 1)
            total += _sum_of_scales(grey[around_x[:, None], around_y].astype(np.int64))
    return float(1.0 / (w * h)) * total


def _sum_of_scales(grey: NDArray[np.int64]) -> int:
    """The scales, 2 or 4, of the points within a frame that is 4 wide before them and 16 behind.

    LIRE's windows begin 2^(k-1) before the point, are 4^k wide and are divided by 4^k, not by their area.
    """
    w, h = grey.shape[0] - 20, grey.shape[1] - 20
    sums = np.pad(grey.cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def change(reach: int, window: int) -> NDArray[Any]:
        def total(dx: int, dy: int) -> Any:
            x, y = 4 + dx - reach, 4 + dy - reach
            a, b = slice(x, x + w), slice(x + window, x + window + w)
            c, d = slice(y, y + h), slice(y + window, y + window + h)
            return sums[b, d] - sums[a, d] - sums[b, c] + sums[a, c]

        along_x = np.abs(total(reach, 0) - total(-reach, 0))
        along_y = np.abs(total(0, reach) - total(0, -reach))
        return np.asarray(np.maximum(along_x, along_y))

    coarser = change(2, 16) > 4 * change(1, 4)  # each divided by its window's width
    return int(np.where(coarser, 4, 2).sum())


def _contrast(grey: NDArray[np.uint8]) -> float:
    """Deviation over the fourth root of the kurtosis; LIRE does not divide the fourth moment by the area."""
    second, fourth = _moments(grey, int(grey.sum()) / grey.size)
    deviation = math.sqrt(second / grey.size)
    if deviation <= 0:
        return 0.0
    return deviation / math.pow(fourth / math.pow(deviation, 4), 0.25)


@compiled
def _moments(grey: NDArray[np.uint8], mean: float) -> tuple[float, float]:
    """Sums of the second and fourth powers of the differences from the mean, x as the outer loop."""
    second = fourth = 0.0
    for x in range(grey.shape[0]):
        for y in range(grey.shape[1]):
            away = grey[x, y] - mean
            second += away * away
            fourth += math.pow(away, 4.0)  # one rounding, as Java has; `**` would multiply and round twice
    return second, fourth


@compiled
def _count_directions(grey: NDArray[np.uint8], counts: NDArray[np.float64]) -> None:
    w, h = grey.shape
    for x in range(1, w - 1):
        for y in range(1, h - 1):
            across = down = 0
            for k in range(-1, 2):
                across += int(grey[x + k, y + 1]) - int(grey[x + k, y - 1])
                down += int(grey[x + 1, y + k]) - int(grey[x - 1, y + k])
            if across == 0:
                if down == 0:
                    counts[0] += 1  # 0/0
                    continue
                angle = math.pi / 2 if down > 0 else -math.pi / 2
            else:
                angle = arctangent(down / across)
            counts[int((math.pi / 2 + angle) / (3.0 / 15))] += 1


@compiled
def _squared_euclid(queries: NDArray[np.float64], gallery: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Sum of squared differences."""
    length = gallery.shape[1]
    lanes = np.zeros((length, BLOCK))
    sums = np.empty(BLOCK)
    for start in range(0, len(gallery), BLOCK):
        count = min(BLOCK, len(gallery) - start)
        for j in range(count):
            for c in range(length):
                lanes[c, j] = gallery[start + j, c]
        for i in range(len(queries)):
            sums[:] = 0.0
            for c in range(length):
                value, row = queries[i, c], lanes[c]
                for j in range(BLOCK):
                    away = value - row[j]
                    sums[j] += away * away
            out[i, start : start + count] = sums[:count]


def _directions(vectors: NDArray[Any]) -> NDArray[Any]:
    """Coarseness and contrast do not count."""
    return np.ascontiguousarray(vectors[:, 2:])


DISTANCE = NativeDistance(
    name="lire-tamura",
    length=18,
    levels=None,
    typical=82000.0,
    kernel=_squared_euclid,
    coordinates=_directions,
    proposes_by="L2",
    arrange=_directions,
)
