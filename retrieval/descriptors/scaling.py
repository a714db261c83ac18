"""Java's bilinear scaling (Graphics2D, no antialiasing): the four nearest pixels, in fixed point."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled


def scaled_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height after scaling down to a longest side; unchanged where it is small or would vanish."""
    factor = longest / width if width > height else longest / height
    w, h = math.floor(width * factor + 0.5), math.floor(height * factor + 0.5)
    return (w, h) if factor < 1 and w > 1 and h > 1 else (width, height)


Axis = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""For each target position of one axis: the two source positions, and the second's weight in 256ths."""


def neighbours(source: int, target: int) -> Axis:
    """Where the pixels of an axis of `target` positions come from in one of `source`."""
    inverse = 1.0 / (target / source)
    position = int(inverse * 0.5 * 2**32) + np.arange(target) * int(inverse * 2**32) - 2**31
    whole = position >> 32
    return whole.clip(0, source - 1), (whole + 1).clip(0, source - 1), (position & 0xFFFFFFFF) >> 24


def scale(picture: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Picture with its longest side at most `longest`: (h, w, c) uint8 -> (h', w', c) uint8."""
    height, width, _ = picture.shape
    w, h = scaled_size(width, height, longest)
    return picture if (w, h) == (width, height) else interpolate(picture, neighbours(height, h), neighbours(width, w))


def interpolate(picture: NDArray[np.uint8], rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """Picture at the given places between its pixels: (h, w, c) uint8 -> (rows, columns, c) uint8."""
    between = np.empty((len(rows[0]), len(columns[0]), picture.shape[2]), dtype=np.uint8)
    _interpolate(picture, *rows, *columns, between)
    return between


@compiled
def _interpolate(
    picture: NDArray[np.uint8],
    upper: NDArray[np.int64],
    lower: NDArray[np.int64],
    down: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    across: NDArray[np.int64],
    scaled: NDArray[np.uint8],
) -> None:
    for y in range(scaled.shape[0]):
        for x in range(scaled.shape[1]):
            for c in range(scaled.shape[2]):
                a, b = np.int64(picture[upper[y], left[x], c]), np.int64(picture[upper[y], right[x], c])
                t = (a << 8) + (b - a) * across[x]
                a, b = np.int64(picture[lower[y], left[x], c]), np.int64(picture[lower[y], right[x], c])
                u = (a << 8) + (b - a) * across[x]
                scaled[y, x, c] = ((t << 8) + (u - t) * down[y] + 32768) >> 16
