"""Bilinear and bicubic resampling, bit-identical to Pillow's in about a third of its time.

Decoding and resizing compete with the encoder for the cores, so their time is the indexer's overhead. A single query is
resized by Pillow itself, which saves loading the compiler.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.compilation import compiled

_BITS = 22
"""Fractional bits of Pillow's fixed point: 32 less 8 for the value and 2 for the overshoot of negative weights."""
_MAX_SHRINK = 4
"""Largest reduction that is resized here. Larger ones, enlargements and pictures relatively narrower than the target
are left to Pillow, whose order of the two passes differs there."""
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
"""Half the width of each filter, in source pixels without shrinking."""


def resize(image: Image.Image, size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    """Resize an RGB picture to (width, height): (height, width, 3) uint8, equal to `image.resize`."""
    width, height = size
    shrinks = width <= image.width <= _MAX_SHRINK * width and height <= image.height <= _MAX_SHRINK * height
    wide = image.width >= image.height and image.width * height >= image.height * width
    if interpolation not in _SUPPORT or image.mode != "RGB" or not (shrinks and wide):
        return np.asarray(image.resize(size, Image.Resampling[interpolation.upper()]))
    pixels = np.asarray(image)
    if image.width != width:
        pixels = _transpose(_resample_rows(_transpose(pixels), *_weights(image.width, width, interpolation)))
    if image.height != height:
        pixels = _resample_rows(pixels, *_weights(image.height, height, interpolation))
    return pixels


@lru_cache(64)
def _weights(source: int, target: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """First source index (target,) int64 and fixed-point weights (target, taps) int32 of each target sample.

    When shrinking, the filter widens with the scale, which prevents aliasing. Weights outside the picture are dropped
    and the others renormalised.
    """
    scale = source / target
    wider = max(scale, 1.0)
    support = _SUPPORT[interpolation] * wider
    first = np.zeros(target, np.int64)
    weights = np.zeros((target, 2 * math.ceil(support) + 1), np.int32)
    for at in range(target):
        center = (at + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), source)
        taps = [_filter(interpolation, (x - center + 0.5) * (1.0 / wider)) for x in range(low, high)]
        total = sum(taps)
        first[at] = low
        for tap, value in enumerate(taps):
            share = value / total * (1 << _BITS)
            weights[at, tap] = int(share - 0.5) if share < 0 else int(share + 0.5)
    return first, weights


def _filter(interpolation: str, x: float) -> float:
    """Triangle, or Keys' cubic with a = -0.5 (Keys, IEEE Trans. ASSP 29(6), 1981)."""
    x = abs(x)
    if interpolation == "bilinear":
        return max(1.0 - x, 0.0)
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0) if x < 2.0 else 0.0


@compiled
def _resample_rows(
    pixels: NDArray[Any], first: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.uint8]:  # pragma: no cover
    """Resample along the height, (h, w, 3) -> (targets, w, 3), row by row so that the compiler vectorises it."""
    height, width = pixels.shape[0], pixels.shape[1]
    source = pixels.reshape(height, 3 * width)
    out = np.empty((len(first), 3 * width), np.uint8)
    total = np.empty(3 * width, np.int32)
    for at in range(len(first)):
        total[:] = 1 << 21
        for tap in range(min(weights.shape[1], height - first[at])):
            weight = weights[at, tap]
            if weight != 0:
                row = source[first[at] + tap]
                for i in range(3 * width):
                    total[i] += weight * np.int32(row[i])
        for i in range(3 * width):
            out[at, i] = min(max(total[i] >> 22, 0), 255)
    return out.reshape(len(first), width, 3)


@compiled
def _transpose(pixels: NDArray[Any]) -> NDArray[np.uint8]:  # pragma: no cover
    """(h, w, 3) -> (w, h, 3) in tiles of 32x32 pixels, which stay in the first-level cache."""
    height, width = pixels.shape[0], pixels.shape[1]
    out = np.empty((width, height, 3), np.uint8)
    for y0 in range(0, height, 32):
        for x0 in range(0, width, 32):
            for x in range(x0, min(x0 + 32, width)):
                for y in range(y0, min(y0 + 32, height)):
                    out[x, y, 0] = pixels[y, x, 0]
                    out[x, y, 1] = pixels[y, x, 1]
                    out[x, y, 2] = pixels[y, x, 2]
    return out
