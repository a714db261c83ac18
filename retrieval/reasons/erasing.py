"""Erasing cells of a picture: a blurred or a plain one takes their place, with soft edges.

Hard edges are features themselves, to which an encoder answers more than to what is gone (R. Fong and A. Vedaldi,
"Interpretable explanations of black boxes by meaningful perturbation", ICCV 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Fill = Literal["blur", "mean"]
"""`blur`: the picture, blurred. `mean`: its mean colour."""
Grid = tuple[int, int]
"""Rows and columns of cells."""

BLUR = 1 / 8
"""Standard deviation of the blur, in heights of the picture."""
SOFTNESS = 6 / 224
"""Standard deviation of the edges, likewise."""
ERASED = 0.1
"""Share of the cells that the test erases."""
_PATTERNS = {1: ((0,),), 4: ((0, 1), (2, 3))}
"""By number of passes, which pass erases which cell of a tile."""


@dataclass(frozen=True)
class Way:
    """A way of telling the relevance of cells: what erased cells are filled with, and in how many passes."""

    fill: Fill
    passes: int

    def __str__(self) -> str:
        filled = "a blurred picture" if self.fill == "blur" else "the picture's mean colour"
        return f"cells replaced by {filled}, in {self.passes} pass{'es' if self.passes > 1 else ''}"


WAYS = (Way("blur", 1), Way("blur", 4), Way("mean", 4))
"""Those that are tried, the quickest first."""


def filling(picture: NDArray[np.uint8], fill: Fill) -> NDArray[np.uint8]:
    """What takes the place of erased cells: (h, w, 3) uint8 -> the same shape."""
    if fill == "mean":
        colour = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
        return np.broadcast_to(colour, picture.shape).copy()
    # Blurred at a quarter of the size, which shows no difference and takes a tenth of the time.
    height, width, _ = picture.shape
    small = Image.fromarray(picture).resize((max(1, width // 4), max(1, height // 4)), Image.Resampling.BOX)
    blurred = small.filter(ImageFilter.GaussianBlur(BLUR * height / 4))
    return np.asarray(blurred.resize((width, height), Image.Resampling.BILINEAR))


def erased(
    picture: NDArray[np.uint8], fill: NDArray[np.uint8], cells: NDArray[np.bool_], soft: bool = True
) -> NDArray[np.uint8]:
    """A picture (h, w, 3) with what is chosen of cells (rows, columns) replaced by another of its size."""
    height, width, _ = picture.shape
    mask: Any = Image.fromarray(cells.astype(np.uint8) * 255).resize((width, height), Image.Resampling.NEAREST)
    if soft:
        mask = mask.filter(ImageFilter.GaussianBlur(SOFTNESS * height))
    return np.asarray(Image.composite(Image.fromarray(fill), Image.fromarray(picture), mask))


def pattern(grid: Grid, passes: int) -> NDArray[np.int64]:
    """The pass in which each cell is erased, (rows, columns): neighbours in different ones."""
    tile = np.array(_PATTERNS[passes])
    rows, columns = np.indices(grid)
    chosen: NDArray[np.int64] = tile[rows % tile.shape[0], columns % tile.shape[1]]
    return chosen


def highest(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which cells (rows, columns) have the highest tenth of the scores, at least one; of equal ones the first."""
    chosen = np.zeros(scores.size, bool)
    chosen[np.argsort(-scores.ravel(), kind="stable")[: max(1, round(ERASED * scores.size))]] = True
    return chosen.reshape(scores.shape)
