"""Whether the local features of two pictures are of one place: mutual matches that one transform explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from indexer.scenes.local_features import SIDE, TEXT_SIDES, LocalFeatures

RATIO = 0.92
"""Largest ratio of the distances to the best and to the second best match (Lowe, IJCV 2004)."""
INLIERS = 7
"""Matches that must agree on one transform."""
_TOLERANCE = 6.0
"""Pixels by which an inlier may miss its place: mucosa moves between two frames."""
_TURN, _OCTAVES = 30.0, 0.8
"""Degrees and octaves by which the angle and the size of an inlier may differ from what the transform says."""
_STILL = 1.5
"""Pixels by which what the device draws may move from frame to frame."""
_SCALES = (0.33, 3.0)
_SHEAR = 2.5
"""Largest ratio of the two scales of a transform: a wall that is seen at 66 degrees."""


def agreement(first: LocalFeatures, second: LocalFeatures) -> int:
    """Number of matches of two pictures that one affine transform explains, in place, angle and size."""
    return agreements(first, [second])[0]


def agreements(first: LocalFeatures, others: Sequence[LocalFeatures]) -> list[int]:
    """The agreement of a picture with each of several.

    All descriptors are multiplied at once; sums of whole numbers below 2^24, they are exact.
    """
    together = np.concatenate([other.descriptors for other in others]).astype(np.float32)
    similar = first.descriptors.astype(np.float32) @ together.T
    ends = np.cumsum([len(other) for other in others])[:-1]
    parts = np.split(similar, ends, axis=1)
    return [_agreement(first, other, part) for other, part in zip(others, parts, strict=True)]


def _agreement(first: LocalFeatures, second: LocalFeatures, similar: NDArray[np.float32]) -> int:
    """The same from the products of their descriptors (n, m)."""
    here, there = _mutual_matches(similar)
    from_, to = first.places[here], second.places[there]
    moving = ~_overlaid(from_, to)
    from_, to = from_[moving], to[moving]
    if len(from_) < INLIERS:
        return 0
    points = np.ascontiguousarray(from_[:, :2]), np.ascontiguousarray(to[:, :2])
    matrix, inside = cv2.estimateAffine2D(
        *points, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=2000, confidence=0.999
    )
    if matrix is None or inside.sum() < INLIERS:
        return 0
    linear = matrix[:, :2]
    large, small = np.linalg.svd(linear, compute_uv=False)
    if np.linalg.det(linear) <= 0 or large > _SHEAR * small:  # a mirror image, or a line
        return 0
    scale = float(np.sqrt(large * small))
    if not _SCALES[0] <= scale <= _SCALES[1]:
        return 0
    turn = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    angles = (to[:, 3] - from_[:, 3] - turn + 180) % 360 - 180
    octaves = np.log2(to[:, 2] / from_[:, 2] / scale)
    agree = (inside.ravel() > 0) & (np.abs(angles) < _TURN) & (np.abs(octaves) < _OCTAVES)
    # A place with several angles has several features, which are one piece of evidence.
    return len(np.unique(from_[agree, :2].round(), axis=0))


def _overlaid(from_: NDArray[np.float32], to: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mask of matches that stay where they are at a side of the frame, as text does that no mask covers."""
    side = (from_[:, 0] < TEXT_SIDES[0] * SIDE) | (from_[:, 0] > TEXT_SIDES[1] * SIDE)
    still: NDArray[np.bool_] = np.abs(to[:, :2] - from_[:, :2]).max(axis=1) < _STILL
    return side & still


def _mutual_matches(similar: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, (k,) each, of descriptors that are each other's nearest, and nearest by far."""
    if min(similar.shape) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    nearest = similar.argmax(axis=1)
    mutual = np.flatnonzero(similar.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    rows: NDArray[Any] = similar[mutual]
    best = rows[np.arange(len(mutual)), nearest[mutual]]
    rows[np.arange(len(mutual)), nearest[mutual]] = -1
    length = 255.0**2  # of a descriptor, squared
    clear = length - best <= RATIO**2 * (length - rows.max(axis=1))
    return mutual[clear], nearest[mutual][clear]
