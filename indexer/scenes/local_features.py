"""Local features of the lit mucosa: SIFT, without what the device draws.

Burnt-in text, boxes, borders and corners of the frame match between any two pictures of one device, and highlights move
with the light: no feature is detected on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.field_of_view import DARK
from retrieval.images import decode
from retrieval.marks import TEXT, Marks, Region, marks_of

SIDE = 400
"""Longest side, in pixels, of the picture that features are detected on."""
MOST = 400
"""Features of one picture, the strongest."""
_CONTRAST, _EDGE = 0.01, 12
"""SIFT's thresholds: a quarter of its usual contrast, since mucosa is smooth."""
TEXT_SIDES = (0.35, 0.7)
"""Text stands left of the first and right of the second share of a frame's width."""
_RIM = 0.03
"""How far from the edge of the field of view a feature must be, as a share of the frame."""
_MARGIN = 0.025
"""How far from a box or a text a feature must be, as a share of the frame."""

_Grey = NDArray[np.uint8]

cv2.setNumThreads(1)  # pictures are what runs in parallel


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """n features: places (n, 4) float32, x, y, diameter in pixels and angle in degrees; descriptors (n, 128) uint8.

    A descriptor is the square root of SIFT's in units of 1 / 255 (Arandjelović & Zisserman, "Three things everyone
    should know to improve object retrieval", CVPR 2012).
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.places)


def local_features(data: bytes) -> LocalFeatures:
    """The features of a picture file; 20 to 40 ms. Raises a PictureError."""
    image = decode(data, draft=(SIDE, SIDE)).upright()
    marks = marks_of(image)
    share = SIDE / max(image.size)
    size = max(1, round(image.width * share)), max(1, round(image.height * share))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2))
    green = cv2.createCLAHE(3.0, (8, 8)).apply(pixels[..., 1])  # haemoglobin absorbs green: vessels stand out
    sift = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)
    points, descriptors = sift.detectAndCompute(green, mucosa(pixels, marks))
    if descriptors is None:
        return LocalFeatures(np.empty((0, 4), np.float32), np.empty((0, 128), np.uint8))
    places = np.array([(*point.pt, point.size, point.angle) for point in points], np.float32)
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    roots = np.sqrt(descriptors / sums)
    return LocalFeatures(places[:MOST], (roots * 255).round().astype(np.uint8)[:MOST])


def mucosa(pixels: NDArray[np.uint8], marks: Marks) -> _Grey:
    """Mask (h, w) uint8 of an RGB picture, 255 where features may be: the inside of its largest lit part."""
    height, width = pixels.shape[:2]
    brightest, darkest = pixels.max(axis=2), pixels.min(axis=2)
    lit = cv2.copyMakeBorder((brightest > DARK + 8).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(lit, cv2.MORPH_OPEN, _disc(4)), connectivity=4
    )
    if count < 2:
        return np.zeros((height, width), np.uint8)
    largest = (parts == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    mask: _Grey = cv2.erode(largest, _disc(max(1, round(_RIM * max(height, width)))))[1:-1, 1:-1]
    highlights = (darkest > 190) | ((brightest > 240) & (darkest > 140))
    mask = mask & ~cv2.dilate(highlights.astype(np.uint8), _disc(4))
    if (text := marks.regions.get(TEXT)) is not None:
        mask[_slices(text, height, width)] &= ~_lines(brightest, darkest)[_slices(text, height, width)]
    if marks.box is not None:
        mask[_slices(marks.box, height, width)] = 0
    return (mask & np.uint8(1)) * np.uint8(255)


def _lines(brightest: _Grey, darkest: _Grey) -> _Grey:
    """Mask of lines of text: light strokes in the parts of the frame where text stands, and what lies between them."""
    strokes = (cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, _disc(3)) > 14) & (brightest - darkest < 90)
    strokes &= darkest > 50
    width = strokes.shape[1]
    strokes[:, int(TEXT_SIDES[0] * width) : int(TEXT_SIDES[1] * width)] = False
    lines: _Grey = cv2.dilate(strokes.astype(np.uint8), np.ones((11, 17), np.uint8))
    return lines


def _slices(region: Region, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a region with its margin."""
    left, top, wide, high = region
    rows = slice(max(0, int((top - _MARGIN) * height)), int((top + high + _MARGIN) * height) + 1)
    return rows, slice(max(0, int((left - _MARGIN) * width)), int((left + wide + _MARGIN) * width) + 1)


def _disc(radius: int) -> _Grey:
    disc: _Grey = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return disc
