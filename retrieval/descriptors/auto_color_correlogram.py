"""AutoColorCorrelogram: how often a colour meets itself at distances of 1 to 4 pixels.

J. Huang, S. R. Kumar, M. Mitra, W.-J. Zhu and R. Zabih, "Image indexing using color correlograms",
CVPR 1997: the autocorrelogram, over 64 colours of HSV and rings of the maximum norm.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled
from retrieval.descriptors.native_distance import NativeDistance

_COLORS = 64
_DISTANCES = 4

_COUNT_STALLS = 16777216
"""LIRE counts in single precision by adding 1, which stops at 2^24."""


def extract(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """256 whole numbers 0..15: (h, w, 3) uint8 -> (256,) float32, [4 * colour + distance - 1]."""
    height, width, _ = rgb.shape
    # A frame of no colour, so that no offset has to be checked against the border.
    colors = np.full((height + _DISTANCES, width + 2 * _DISTANCES), _COLORS, dtype=np.uint8)
    _quantise(rgb, _hues(), _shades(), colors[:height, _DISTANCES : _DISTANCES + width])
    histogram = np.zeros(_COLORS, dtype=np.int64)
    pairs = np.zeros((_COLORS, _DISTANCES), dtype=np.int64)
    _count_pairs(colors, histogram, pairs)
    count = np.minimum(pairs, _COUNT_STALLS).astype(np.float32)
    possible = (histogram * 8).astype(np.float32)[:, None] * np.arange(1, 5, dtype=np.float32)
    present = possible > 0
    share = np.divide(count, possible, out=np.zeros_like(count), where=present)
    return np.floor(16.0 * share.astype(np.float64)).astype(np.float32).ravel()


@cache
def _hues() -> NDArray[np.uint8]:
    """8 x hue, one of eight: [largest channel, spread, 255 + lead of the next channel over the third]."""
    spread = np.maximum(np.arange(256), 1).astype(np.float32)[:, None]
    lead = np.arange(-255, 256).astype(np.float32)
    degrees = np.stack([(np.float32(2 * largest) + lead / spread) * np.float32(60) for largest in range(3)])
    degrees = np.where(degrees < 0, degrees + np.float32(360), degrees)
    return (8 * (degrees.astype(np.int64) // 45)).astype(np.uint8)


@cache
def _shades() -> NDArray[np.uint8]:
    """2 x saturation, one of four, plus value, one of two: [value, spread]."""
    value, spread = np.arange(256)[:, None], np.arange(256).astype(np.float32)
    saturation = spread / np.maximum(value, 1).astype(np.float32) * np.float32(255)
    return (2 * (saturation.astype(np.int64) >> 6) + (value >> 7)).astype(np.uint8)


@compiled
def _quantise(
    rgb: NDArray[np.uint8], hues: NDArray[np.uint8], shades: NDArray[np.uint8], colors: NDArray[np.uint8]
) -> None:
    """HSV in single precision, cut to 8 hues x 4 saturations x 2 values."""
    height, width, _ = rgb.shape
    for y in range(height):
        for x in range(width):
            r, g, b = np.int64(rgb[y, x, 0]), np.int64(rgb[y, x, 1]), np.int64(rgb[y, x, 2])
            value: Any = max(r, g, b)
            spread = value - min(r, g, b)
            largest = 0 if r == value else (1 if g == value else 2)
            lead = g - b if largest == 0 else (b - r if largest == 1 else r - g)
            colors[y, x] = hues[largest, spread, 255 + lead] + shades[value, spread]


@compiled
def _count_pairs(colors: NDArray[np.uint8], histogram: NDArray[np.int64], pairs: NDArray[np.int64]) -> None:
    """Ordered pairs of equal colour on each ring; half of a ring is looked at, and each find counts twice."""
    height, width = colors.shape[0] - 4, colors.shape[1] - 8
    met = np.empty((4, width), np.uint8)
    for y in range(height):
        met[:] = 0
        here = colors[y, 4 : 4 + width]
        for distance in range(1, 5):
            counts = met[distance - 1]
            for dy in range(distance + 1):
                edge = dy == distance
                for dx in range(-distance, distance + 1, 1 if edge else 2 * distance):
                    if dy > 0 or dx > 0:
                        there = colors[y + dy, 4 + dx : 4 + dx + width]
                        for x in range(width):
                            counts[x] += np.uint8(here[x] == there[x])
        for x in range(width):
            color = here[x]
            histogram[color] += 1
            for k in range(4):
                pairs[color, k] += 2 * np.int64(met[k, x])


def _terms() -> NDArray[np.float64]:
    """What a pair of values adds to the distance, [a, b]: quotients in single, logarithm in double."""
    terms = np.zeros((16, 16))
    for a in range(16):
        for b in range(16):
            for one, other in ((a, b), (b, a)):
                if one > 0:
                    quotient = np.float32(2 * one) / np.float32(one + other)
                    terms[a, b] += one / 2 * math.log(float(quotient))
    return terms


_TERMS = _terms()

_ABREAST = 16
"""Sums that are taken side by side: enough to hide the time that one rounding waits for another."""


@compiled
def _jensen_shannon(
    queries: NDArray[np.uint8],
    gallery: NDArray[np.uint8],
    terms: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Divergence of both from their mean; LIRE rounds the running sum to single at every step."""
    length = gallery.shape[1]
    lanes = np.zeros((length, _ABREAST), np.uint8)
    used = np.empty(length, np.uint8)
    sums = np.empty(_ABREAST, np.float32)
    for start in range(0, len(gallery), _ABREAST):
        count = min(_ABREAST, len(gallery) - start)
        used[:] = 0
        for j in range(count):
            vector = gallery[start + j]
            for c in range(length):
                lanes[c, j] = vector[c]
                used[c] |= vector[c]
        for i in range(len(queries)):
            sums[:] = 0.0
            for c in range(length):
                value = queries[i, c]
                if value == 0 and used[c] == 0:  # adding nothing rounds nothing
                    continue
                term, row = terms[value], lanes[c]
                for j in range(_ABREAST):
                    sums[j] = np.float32(np.float64(sums[j]) + term[row[j]])
            out[i, start : start + count] = sums[:count]


def _square_roots(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Hellinger's coordinates: squared Euclid there is 2 to 2.9 times the native distance."""
    return np.sqrt(vectors.astype(np.float32))


DISTANCE = NativeDistance(
    name="lire-auto-color-correlogram",
    length=256,
    levels=16,
    typical=104.0,
    kernel=_jensen_shannon,
    coordinates=_square_roots,
    proposes_by="L2",
    tables=(_TERMS,),
)
