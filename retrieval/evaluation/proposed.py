"""Ranked lists as an index returns them: what it misses stands behind what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection, among
from retrieval.index import Index

DEPTH = 100
"""Ranks in which the index is measured; images beyond follow by their distance."""
_NEARER = 1e-9
"""What an image must be nearer than the last that is returned to have been missed: more than rounding."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Proposed:
    """An index that searches for the queries of an evaluation.

    ids: (n,) ascending, the image of each row. groups: (n,) as in a protocol; a query leaves out those of its own.
    """

    index: Index
    ids: NDArray[np.int64]
    groups: Rows

    def among(self, gallery: Rows) -> Callable[[Rows, NDArray[np.generic], NDArray[np.floating]], NDArray[np.floating]]:
        """Queries (q,), their vectors (q, d), distances (q, m) to gallery rows (m,) -> those that the index sees.

        An image that the index misses among the first DEPTH is as far as the last of them.
        """
        images = self.ids[gallery]
        selection = None if len(gallery) == len(self.index) else Selection(self.ids, images)

        def seen(queries: Rows, vectors: NDArray[np.generic], distances: NDArray[np.floating]) -> NDArray[np.floating]:
            own = self.groups[gallery] == self.groups[queries][:, None]
            _, found = self.index.search(vectors, DEPTH, selection, [images[left_out] for left_out in own])
            for at, listed in enumerate(found):
                returned = among(images, np.sort(listed[listed >= 0]))
                last = distances[at, returned].max(initial=-np.inf)
                missed = ~returned & ~own[at] & (distances[at] < last - _NEARER)
                distances[at, missed] = np.nextafter(last, np.inf)
            return distances

        return seen
