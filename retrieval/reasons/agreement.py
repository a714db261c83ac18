"""Where a query and an image agree: the relevance of the cells of both, and each cell's best match in the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.images import Region
from retrieval.reasons.erasing import highest
from retrieval.reasons.relevance import Erasures

if TYPE_CHECKING:
    from retrieval.reasons.faithfulness import Faithfulness

Area = tuple[float, float, float, float]
"""Left, top, width and height of the grid of cells, as fractions of the upright picture."""


@dataclass(frozen=True, eq=False)
class Side:
    """One picture of a pair.

    area: where its cells lie on it. relevance: (rows, columns), what the similarity loses where the cell is erased.
    matches: (rows, columns), the number of the most similar cell of the other picture, row by row from 0. likeness:
    (rows, columns), the cosine of the features of both, less what all cells of the two pictures have in common.
    device: (rows, columns), whether a cell's centre lies on a box or text of the device.
    """

    area: Area
    relevance: NDArray[np.float64]
    matches: NDArray[np.int64]
    likeness: NDArray[np.float64]
    device: NDArray[np.bool_]

    @property
    def on_device(self) -> float:
        """Share of the most relevant tenth of the cells that lies on a box or text of the device."""
        return float(self.device[highest(self.relevance)].mean())

    @property
    def heat(self) -> NDArray[np.float64]:
        """The relevance from 0 for the least relevant cell to 1 for the most relevant one, (rows, columns)."""
        least, most = float(self.relevance.min()), float(self.relevance.max())
        scaled: NDArray[np.float64] = (self.relevance - least) / max(most - least, 1e-12)
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """The side as plain values."""
        rows, columns = self.relevance.shape
        return {
            "area": list(self.area),
            "rows": rows,
            "columns": columns,
            "relevance": self.relevance.round(6).tolist(),
            "matches": self.matches.tolist(),
            "likeness": self.likeness.round(4).tolist(),
            "on_device": self.on_device,
        }


@dataclass(frozen=True, eq=False)
class Agreement:
    """A pair in one space of embeddings; similarity: their cosine. test: the outcome by which this may be shown.

    outdated: whether the collection has changed since that test.
    """

    space: str
    similarity: float
    query: Side
    hit: Side
    test: Faithfulness
    outdated: bool

    def to_dict(self) -> dict[str, Any]:
        """The agreement as plain values."""
        return {
            "space": self.space,
            "similarity": self.similarity,
            "query": self.query.to_dict(),
            "hit": self.hit.to_dict(),
            "test": self.test.to_dict(),
            "outdated": self.outdated,
        }


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """A picture as an encoder sees it.

    area: of the grid of cells on the upright picture. device: boxes and text of the device, as fractions of the grid.
    cells: features (rows, columns, c) float32.
    """

    area: Area
    device: Sequence[Region]
    cells: NDArray[np.float32]
    erasures: Erasures

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        made = self.erasures
        return self.cells.nbytes + made.whole.nbytes + made.alone.nbytes + made.together.nbytes


def agreement(space: str, query: SeenPicture, hit: SeenPicture, test: Faithfulness, outdated: bool) -> Agreement:
    """Where two pictures agree in a space."""
    first, second = query.erasures.whole.astype(np.float64), hit.erasures.whole.astype(np.float64)
    likeness = _likeness(query.cells, hit.cells)
    sides = _side(query, second, likeness), _side(hit, first, likeness.T)
    return Agreement(space, float(first @ second), *sides, test, outdated)


def _side(picture: SeenPicture, other: NDArray[np.float64], likeness: NDArray[np.floating]) -> Side:
    relevance = picture.erasures.relevance(other)
    grid = relevance.shape
    matches, best = likeness.argmax(axis=1).reshape(grid), likeness.max(axis=1).reshape(grid)
    return Side(picture.area, relevance, matches, best.astype(np.float64), within(picture.device, (grid[0], grid[1])))


def within(regions: Sequence[Region], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Which cells (rows, columns) have their centre in one of several regions, fractions of the grid."""
    y, x = np.meshgrid(*((np.arange(count) + 0.5) / count for count in grid), indexing="ij")
    cells = np.zeros(grid, bool)
    for left, top, width, height in regions:
        cells |= (left <= x) & (x < left + width) & (top <= y) & (y < top + height)
    return cells


def _likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines (n, m) of the cells of two pictures, each number of a feature less its mean over all of them."""
    first, second = (cells.reshape(-1, cells.shape[2]) for cells in (one, other))
    mean = np.concatenate([first, second]).mean(axis=0)
    first, second = (
        (cells - mean) / np.maximum(np.linalg.norm(cells - mean, axis=1, keepdims=True), 1e-12)
        for cells in (first, second)
    )
    cosines: NDArray[np.float32] = first @ second.T
    return cosines
