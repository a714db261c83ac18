"""Tamura: coarseness, contrast and directions of texture.

H. Tamura, S. Mori and T. Yamawaki, "Textural features corresponding to visual perception", IEEE
Transactions on Systems, Man, and Cybernetics 8(6), 1978; as LIRE computes them on a small grey picture.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.arctangent import arctangent
from retrieval.descriptors.compilation import compiled
from retrieval.descriptors.grey import grey_columns
from retrieval.descriptors.native_distance import BLOCK, NativeDistance
from retrieval.descriptors.scaling import interpolate, neighbours, scaled_size
from retrieval.descriptors.variant import Grey

_LONGEST = 64
"""Longest side of the grey picture that is looked at, pixels."""


def extract(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.float64]:
    """Coarseness, contrast and 16 counts of direction: (h, w, 3) uint8 -> (18,) float64."""
    columns = _small_grey(rgb, grey)
    values = np.zeros(18)
    values[0] = _coarseness(columns)
    values[1] = _contrast(columns)
    _count_directions(columns, values[2:])
    return values


def _small_grey(rgb: NDArray[np.uint8], grey: Grey) -> NDArray[np.int64]:
    """Grey picture scaled to a longest side of 64, [x, y]; only the pixels that the scaling touches are made grey."""
    height, width, _ = rgb.shape
    w, h = scaled_size(width, height, _LONGEST)
    if (w, h) == (width, height):
        return grey_columns(rgb, grey).astype(np.int64)
    left, right, across = neighbours(width, w)
    upper, lower, down = neighbours(height, h)
    touched = rgb[np.concatenate([upper, lower])[:, None], np.concatenate([left, right])]
    columns = grey_columns(touched, grey)[..., None]
    x, y = np.arange(w), np.arange(h)
    return interpolate(columns, (x, w + x, across), (y, h + y, down))[..., 0].astype(np.int64)


def _coarseness(grey: NDArray[np.int64]) -> float:
    """Mean over the picture of 4 where the change between windows of 16 beats that of windows of 4, else 2.

    LIRE's windows begin 2^(k-1) before the point, are 4^k wide and are divided by 4^k, not by their area.
    """
    w, h = grey.shape
    if w < 3 or h < 3:
        return 0.0
    # Windows reach from 4 before an interior point to 15 behind the last; indices are clamped to the picture.
    sums = np.pad(np.pad(grey, ((4, 16), (4, 16)), mode="edge").cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def change(reach: int, window: int) -> NDArray[Any]:
        def total(dx: int, dy: int) -> Any:
            x, y = 5 + dx - reach, 5 + dy - reach  # of the first interior point, 4 in from the frame
            a, b = slice(x, x + w - 2), slice(x + window, x + window + w - 2)
            c, d = slice(y, y + h - 2), slice(y + window, y + window + h - 2)
            return sums[b, d] - sums[a, d] - sums[b, c] + sums[a, c]

        along_x = np.abs(total(reach, 0) - total(-reach, 0))
        along_y = np.abs(total(0, reach) - total(0, -reach))
        return np.asarray(np.maximum(along_x, along_y))

    coarser = change(2, 16) > 4 * change(1, 4)  # each divided by its window's width
    return float(1.0 / (w * h)) * int(np.where(coarser, 4, 2).sum())


def _contrast(grey: NDArray[np.int64]) -> float:
    """Deviation over the fourth root of the kurtosis; LIRE does not divide the fourth moment by the area."""
    away = grey.ravel() - int(grey.sum()) / grey.size
    deviation = math.sqrt(float((away * away).cumsum()[-1]) / grey.size)
    if deviation <= 0:
        return 0.0
    return deviation / math.pow(float((away**4).cumsum()[-1]) / math.pow(deviation, 4), 0.25)


@compiled
def _count_directions(grey: NDArray[np.int64], counts: NDArray[np.float64]) -> None:
    w, h = grey.shape
    for x in range(1, w - 1):
        for y in range(1, h - 1):
            across = down = 0
            for k in range(-1, 2):
                across += grey[x + k, y + 1] - grey[x + k, y - 1]
                down += grey[x + 1, y + k] - grey[x - 1, y + k]
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
