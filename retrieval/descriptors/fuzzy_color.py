"""The fuzzy colour histogram that CEDD and FCTH share: 10 bins by rules on hue, split into 24 by shade.

S. A. Chatzichristofis and Y. S. Boutalis, "CEDD: Color and Edge Directivity Descriptor", ICVS 2008,
section 3. Bins 0..2 are white, grey and black; then seven hues, each in three shades.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.compilation import compiled

HUES = np.array(
    [
        [0, 0, 5, 10],  # red to orange
        [5, 10, 35, 50],
        [35, 50, 70, 85],
        [70, 85, 150, 165],
        [150, 165, 195, 205],
        [195, 205, 265, 280],
        [265, 280, 315, 330],
        [315, 330, 360, 360],  # magenta to red: counts with the first
    ],
    dtype=np.float64,
)
"""Trapezoid of each hue, degrees."""


@compiled
def membership(value: float, a: float, b: float, c: float, d: float) -> float:
    """How far a value belongs to the trapezoid that rises from a to b and falls from c to d, 0..1."""
    if b <= value <= c:
        return 1.0
    if a <= value < b:
        return (value - a) / (b - a)
    if c < value <= d:
        return (value - c) / (c - d) + 1.0
    return 0.0


@compiled
def hue_saturation_value(red: int, green: int, blue: int) -> tuple[int, int, int]:
    """Hue in whole degrees 0..359, saturation and value 0..255, of a colour with 0..255 a channel."""
    value = max(red, green, blue)
    low = min(red, green, blue)
    saturation = 0 if value == 0 else int(255.0 - 255.0 * (low / value))
    spread = value - low
    if spread == 0:
        hue = 0
    elif red == value:
        hue = int((0 if green >= blue else 359) + 60 * (green - blue) / spread)
    elif green == value:
        hue = int(119 + 60 * (blue - red) / spread)
    else:
        hue = int(239 + 60 * (red - green) / spread)
    return hue, saturation, value


@compiled
def fuzzy_color(red: int, green: int, blue: int, bins: NDArray[np.float64]) -> None:
    """Overwrite bins, (24,) float64, with the fuzzy histogram of one colour, 0..255 a channel."""
    hue, saturation, value = hue_saturation_value(red, green, blue)
    pale = membership(saturation, 0, 0, 10, 75)
    vivid = membership(saturation, 10, 75, 255, 255)
    dark = membership(value, 0, 0, 10, 75)
    middle = membership(value, 10, 75, 180, 220)
    bright = membership(value, 180, 220, 255, 255)
    # The 24 bins cut the same axes in two, at other places.
    shade_pale = membership(saturation, 0, 0, 68, 188)
    shade_vivid = membership(saturation, 68, 188, 255, 255)
    shade_dark = membership(value, 0, 0, 68, 188)
    shade_bright = membership(value, 68, 188, 255, 255)
    shades = (
        min(shade_pale, shade_bright),
        min(shade_vivid, shade_bright),
        min(shade_pale, shade_dark) + min(shade_vivid, shade_dark),
    )
    bins[:] = 0.0
    for h in range(8):
        a, b, c, d = HUES[h]
        near = membership(hue, a, b, c, d)
        bins[2] += min(near, pale, dark)
        bins[2] += min(near, vivid, dark)
        bins[0] += min(near, pale, bright)
        bins[1] += min(near, pale, middle)
        share = min(near, vivid, middle) + min(near, vivid, bright)
        first = 3 if h == 7 else 3 + 3 * h
        for k in range(3):
            bins[first + k] += share * shades[k]
