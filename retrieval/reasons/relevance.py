"""How much of the similarity of a picture to a vector each of its cells makes: what is lost where the cell is erased.

Erasing one cell after the other takes a pass of the encoder for each (M. Zeiler and R. Fergus, "Visualizing and
understanding convolutional networks", ECCV 2014). Here many cells are erased in one pass. What changes in a place is
put down to the erased cells nearest to it, and the change by one cell is pooled with the features of the whole picture:
a few passes give an answer for each cell. What a pass as a whole loses beyond the sum of these is shared evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.spatial import Encoded, SpatialTower
from retrieval.reasons.erasing import Grid, Way, erased, filling, pattern
from retrieval.spaces import Space

_REACH = 0.6
"""Standard deviation, in cells, of how far an erased cell changes the features around it."""


@dataclass(frozen=True, eq=False)
class Erasures:
    """Vectors of a picture in a space, as it is and erased in part. They serve every vector that it is compared with.

    whole: (d,). alone: (cells, d), each cell erased by itself. together: (passes, d), all cells of a pass erased.
    order: (rows, columns), the pass of each cell.
    """

    whole: NDArray[np.float32]
    alone: NDArray[np.float32]
    together: NDArray[np.float32]
    order: NDArray[np.int64]

    def relevance(self, target: NDArray[Any]) -> NDArray[np.float64]:
        """What the picture's similarity to a vector (d,) loses by each cell, (rows, columns)."""
        wanted = np.asarray(target, np.float64)
        whole = float(self.whole @ wanted)
        lost: NDArray[np.float64] = whole - self.alone @ wanted
        for turn, together in enumerate(whole - self.together @ wanted):
            cells = self.order.ravel() == turn
            lost[cells] += (together - lost[cells].sum()) / cells.sum()
        return lost.reshape(self.order.shape)


def vectors_in(space: Space, embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Embeddings (n, d) of an encoder as vectors (n, d') of the space that is it, or that is derived from it."""
    made = space.derive([embeddings]) if space.sources else embeddings
    return np.asarray(made, np.float64)


def encoder_inputs(prepared: NDArray[np.uint8], way: Way, grid: Grid) -> list[NDArray[np.uint8]]:
    """What an encoder must see of a prepared picture (h, w, 3): itself, and itself in each pass of a way."""
    fill, order = filling(prepared, way.fill), pattern(grid, way.passes)
    if way.passes == 1:
        return [prepared, fill]
    return [prepared, *(erased(prepared, fill, order == turn) for turn in range(way.passes))]


def erasures(tower: SpatialTower, space: Space, way: Way, encoded: Sequence[Encoded]) -> Erasures:
    """A picture erased in part; encoded: its `encoder_inputs`. space: of the tower's embeddings, or derived of them."""
    whole, *passes = encoded
    order = pattern(tower.grid, way.passes)
    alone = np.empty((order.size, len(whole.vector)))
    for turn, other in enumerate(passes):
        cells = order == turn
        rows, columns = (
            _causes(count, tuple(np.flatnonzero(cells.any(axis=1 - axis)))) for axis, count in enumerate(tower.grid)
        )
        alone[cells.ravel()] = tower.replaced(whole, other, rows, columns)
    made = vectors_in(space, np.stack([whole.vector, *(other.vector for other in passes), *alone])).astype(np.float32)
    return Erasures(made[0], made[1 + len(passes) :], made[1 : 1 + len(passes)], order)


@lru_cache(16)
def _causes(count: int, chosen: tuple[int, ...]) -> NDArray[np.float64]:
    """How far each erased row or column of cells is the cause of a change in each of them: (erased, count).

    It falls with the distance; the causes of one sum to 1. The cells erased in a pass are all those where an erased row
    meets an erased column, and a normal distribution in two dimensions is the product of two in one.
    """
    squares = (np.array(chosen)[:, None] - np.arange(count)) ** 2
    near = np.exp(-squares / (2 * _REACH**2))
    causes: NDArray[np.float64] = near / near.sum(axis=0)
    return causes
