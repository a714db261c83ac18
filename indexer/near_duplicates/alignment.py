"""Similarity of two pictures as near duplicates: registered by scale and shift, then correlated in fine structure.

The registration is Gauss-Newton on the sum of squared differences with gain and offset of brightness (Baker & Matthews,
"Lucas-Kanade 20 Years On", IJCV 2004), each axis with a scale and a shift of its own, because small pictures are
squashed to a square. The comparison is a correlation of locally normalised brightness, where neither picture is black.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.images import Picture

SIDE = 64
"""Side of the small grey pictures that are compared."""
DARK = 24
"""Grey values up to this are border, lumen or a blacked-out overlay: never compared."""
SAME = 0.55
"""Similarity from which two pictures are one: of 924 frames of Kvasir, 300 planted copies had
0.8 or more, other pictures below 0.45, and two frames of one video, moments apart, 0.6."""
_COARSE = ((16, 0, 0.4), (16, 5, 0.4), (32, 3, 0.8))
"""Coarse to fine: side, steps of registration, and the correlation that a pair must have after them to go on.

Planted copies of Kvasir's frames had 0.41, 0.47 and 0.95 or more; 95 % of the other candidates are out after the last.
"""
_MOST = 0.16
"""Largest shift of an edge, as a share of half the side; a crop of 5 % at one side moves it by 0.1."""
_LEAST_AREA = 0.2
"""Share of the picture that must be comparable."""

Greys = NDArray[np.uint8]
Stack = NDArray[np.floating[Any]]
"""Pictures (n, side, side) float32, or a number or several for each of n pairs."""


def small_grey(picture: Picture) -> Greys:
    """The upright picture squashed to (SIDE, SIDE) uint8."""
    return np.asarray(picture.upright().convert("L").resize((SIDE, SIDE), Image.Resampling.HAMMING, reducing_gap=1.0))


def similarity(first: Greys, second: Greys) -> Stack:
    """Similarity (n,) float32, at most 1, of n pairs of small greys, (n, SIDE, SIDE) each.

    0 where too little of a pair can be compared, or where coarse versions already tell the two apart.
    """
    left, right = first.astype(np.float32), second.astype(np.float32)
    moves = np.tile(np.array([1, 0, 1, 0], np.float32), (len(left), 1))
    remaining = np.arange(len(left))
    for side, steps, least in _COARSE:
        coarse = _shrunk(left, side), _shrunk(right, side)
        moves = _register(*coarse, moves, steps)
        seen, known = _moved(coarse[1], _known(coarse[1]), moves)
        alike = np.flatnonzero(_correlation(coarse[0], seen, known * _known(coarse[0])) >= least)
        left, right, moves, remaining = left[alike], right[alike], moves[alike], remaining[alike]
    correlation = _fine_correlation(left, right, moves)
    correlation = np.maximum(correlation, _fine_correlation(left, right, _register(left, right, moves, 3)))
    result = np.zeros(len(first), np.float32)
    result[remaining] = correlation
    return result


def _shrunk(greys: Stack, side: int) -> Stack:
    """The means of square blocks."""
    block = SIDE // side
    shrunk: Stack = greys.reshape(len(greys), side, block, side, block).mean((2, 4))
    return shrunk


def _correlation(left: Stack, right: Stack, known: Stack) -> Stack:
    """The correlation of pairs where they are known, (n,); 0 for a plain picture."""
    amount = np.maximum(known.sum((1, 2), keepdims=True), 1)
    left, right = ((side - (side * known).sum((1, 2), keepdims=True) / amount) * known for side in (left, right))
    size = np.sqrt((left * left).sum((1, 2)) * (right * right).sum((1, 2)))
    correlation: Stack = (left * right).sum((1, 2)) / np.maximum(size, 1e-6)
    return correlation


def _fine_correlation(left: Stack, right: Stack, moves: Stack) -> Stack:
    """The correlation of the fine structure after the right pictures are moved, (n,)."""
    seen, known = _moved(right, _known(right), moves)
    known *= _known(left)
    correlation = _correlation(_locally_normal(left, known), _locally_normal(seen, known), known)
    return np.where(known.mean((1, 2)) >= _LEAST_AREA, correlation, 0).astype(np.float32)


def _known(greys: Stack) -> Stack:
    """Mask: 0 where a picture is black or next to black, else 1."""
    dark = np.pad(greys <= DARK, ((0, 0), (1, 1), (1, 1)))
    near = dark[:, 1:-1] | dark[:, :-2] | dark[:, 2:]
    near = near[:, :, 1:-1] | near[:, :, :-2] | near[:, :, 2:]
    return (~near).astype(np.float32)


def _grid(side: int) -> Stack:
    """Centres of pixels between -1 and 1."""
    return ((2 * np.arange(side) + 1) / side - 1).astype(np.float32)


def _sampler(scale: Stack, shift: Stack, side: int) -> Stack:
    """Matrices (n, side, side) that sample an axis linearly at scale * x + shift; rows outside are all 0."""
    at = (scale[:, None] * _grid(side) + shift[:, None] + 1) * side / 2 - 0.5
    weights = 1 - np.abs(at[:, :, None] - np.arange(side, dtype=np.float32))
    inside = (at >= -0.5) & (at <= side - 0.5)
    weights = np.maximum(weights, 0) * inside[:, :, None]
    sampler: Stack = weights / np.maximum(
        weights.sum(2, keepdims=True), 1e-6
    )  # the outer half pixel takes the edge's value
    return sampler


def _moved(greys: Stack, known: Stack, moves: Stack) -> tuple[Stack, Stack]:
    """Pictures after a move (scale y, shift y, scale x, shift x), and where they are known."""
    side = greys.shape[1]
    down = _sampler(moves[:, 0], moves[:, 1], side)
    across = _sampler(moves[:, 2], moves[:, 3], side).transpose(0, 2, 1)
    return down @ greys @ across, (down @ known @ across > 0.99).astype(np.float32)


def _register(left: Stack, right: Stack, moves: Stack, steps: int) -> Stack:
    """The moves (n, 4) of the right pictures that bring them closest to the left ones."""
    side = left.shape[1]
    known_left, known_right = _known(left), _known(right)
    grid = _grid(side)
    damping = np.diag(np.array([1e-2] * 4 + [1e-5] * 2, np.float32))
    for _ in range(steps):
        seen, known = _moved(right, known_right, moves)
        known = known * known_left
        slope_y, slope_x = (np.gradient(seen, axis=axis) * (side / 2) for axis in (1, 2))
        columns = np.stack(
            [slope_y * grid[:, None], slope_y, slope_x * grid, slope_x, seen, np.ones_like(seen)], axis=1
        ).reshape(len(left), 6, side * side)
        # left = gain * seen(move + step) + offset, linear in the step, the gain and the offset
        weighted = columns * known.reshape(len(left), 1, side * side)
        normal = weighted @ columns.transpose(0, 2, 1)
        # Damped where the picture says little (Levenberg-Marquardt), but gain and offset hardly: that would bias them.
        normal += normal * damping + np.eye(6, dtype=np.float32) * 1e-2
        target = weighted @ left.reshape(len(left), side * side, 1)
        solved = np.linalg.solve(normal, target)[:, :, 0]
        moves = moves + np.clip(solved[:, :4] / np.clip(solved[:, 4:5], 0.3, 3), -0.1, 0.1)
        moves[:, [0, 2]] = np.clip(moves[:, [0, 2]], 1 - _MOST, 1 + _MOST)
        moves[:, [1, 3]] = np.clip(moves[:, [1, 3]], -_MOST, _MOST)
    return moves


def _locally_normal(greys: Stack, known: Stack) -> Stack:
    """Brightness less its local mean, over its local deviation, where known; 0 elsewhere."""
    amount = np.maximum(_blurred(known), 1e-3)
    detail = (greys - _blurred(greys * known) / amount) * known
    spread = np.sqrt(_blurred(detail * detail) / amount)
    # 2 grey levels: below it lies the noise of the encoding
    normal: Stack = detail / (spread + 2)
    return normal


_WINDOW = np.exp(-0.5 * (np.subtract.outer(np.arange(SIDE), np.arange(SIDE)) / 3.0) ** 2).astype(np.float32)
_WINDOW /= _WINDOW.sum(1).max()


def _blurred(greys: Stack) -> Stack:
    """A Gaussian of 3 pixels over (n, SIDE, SIDE)."""
    blurred: Stack = _WINDOW @ greys @ _WINDOW
    return blurred
