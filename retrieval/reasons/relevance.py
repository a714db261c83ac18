"""How much of the similarity of a picture to a vector each of its cells makes: what is lost where the cell is erased.

Erasing one cell after the other takes a pass of the encoder for each (M. Zeiler and R. Fergus, "Visualizing and
understanding convolutional networks", ECCV 2014). Here many cells are erased in one pass. What changes in a place is
put down to the erased cells nearest to it, and the change by one cell is pooled with the features of the whole picture:
a few passes give an answer for each cell. What a pass as a whole loses beyond the sum of these is shared evenly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.spatial import Encoded, SpatialTower
from retrieval.reasons.erasing import Grid, Way, erased, filling, pattern
from retrieval.spaces import Space

_REACH = 0.6
"""Standard deviation, in cells, of how far an erased cell changes the features around it."""


def vectors_in(space: Space, embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Embeddings (n, d) of an encoder as vectors (n, d') of the space that is it, or that is derived from it."""
    made = space.derive([embeddings]) if space.sources else embeddings
    return np.asarray(made, np.float64)


def relevance(
    tower: SpatialTower, space: Space, way: Way, prepared: NDArray[np.uint8], encoded: Encoded, target: NDArray[Any]
) -> NDArray[np.float64]:
    """What the similarity of a prepared picture to a vector (d,) loses by each cell, (rows, columns).

    space: that of the vector, derived from the tower's embeddings or made of them. encoded: of the same picture.
    """
    wanted = np.asarray(target, np.float64)

    def similarities(embeddings: NDArray[Any]) -> NDArray[np.float64]:
        return vectors_in(space, embeddings) @ wanted

    whole = float(similarities(encoded.vector[None])[0])
    fill, order = filling(prepared, way.fill), pattern(tower.grid, way.passes).ravel()
    lost = np.empty(len(order))
    for turn in range(way.passes):
        cells = order == turn
        without = fill if way.passes == 1 else erased(prepared, fill, cells.reshape(tower.grid))
        other = tower.encode(without)
        alone = whole - similarities(tower.replaced(encoded, other, _causes(tower.grid, cells)))
        together = whole - float(similarities(other.vector[None])[0])
        lost[cells] = alone + (together - alone.sum()) / cells.sum()
    return lost.reshape(tower.grid)


def _causes(grid: Grid, cells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far each of the erased cells (rows * columns,) is the cause of a change in each cell: (erased, cells).

    It falls with the distance; the causes of one cell sum to 1.
    """
    places = np.indices(grid).reshape(2, -1).T
    squares = ((places[cells][:, None] - places[None]) ** 2).sum(axis=2)
    near = np.exp(-squares / (2 * _REACH**2))
    causes: NDArray[np.float64] = near / near.sum(axis=0)
    return causes
