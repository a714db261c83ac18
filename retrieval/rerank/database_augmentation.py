"""Database-side augmentation (Arandjelović and Zisserman, CVPR 2012, section 4), weighted as alpha query expansion.

Each candidate becomes the sum of itself and its nearest candidates, so that one odd picture counts less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.products import products


class DatabaseAugmentation:
    """neighbours: candidates that each one takes in; alpha: 0 gives all of them the same weight."""

    name = "database-augmentation"

    def __init__(self, neighbours: int = 10, alpha: float = 3.0) -> None:
        self.neighbours, self.alpha = neighbours, alpha

    def scores(self, query: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines (m,) of the augmented candidates (m, d) to the query."""
        return products(self.augmented(candidates), query)

    def augmented(self, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The candidates (m, d), each with its neighbours, at unit length."""
        similar = products(candidates, candidates)
        np.fill_diagonal(similar, -np.inf)
        count = min(self.neighbours, len(candidates) - 1)
        near = np.argpartition(-similar, max(count - 1, 0), axis=1)[:, :count]
        weights = np.maximum(np.take_along_axis(similar, near, axis=1), 0) ** self.alpha
        sums = candidates + np.einsum("mk,mkd->md", weights, candidates[near])
        unit: NDArray[np.float64] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return unit
