"""Alpha-weighted query expansion (Radenović, Tolias and Chum, TPAMI 2019, section 3.2).

The query becomes the sum of itself and its nearest images, each weighted by its similarity to the power of alpha.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.products import products


class QueryExpansion:
    """neighbours: images that the query takes in; alpha: 0 gives all of them the same weight."""

    name = "query-expansion"

    def __init__(self, neighbours: int = 10, alpha: float = 3.0) -> None:
        self.neighbours, self.alpha = neighbours, alpha

    def scores(self, query: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines (m,) of candidates (m, d) to the expanded query."""
        near = candidates[: self.neighbours]
        weights = np.maximum(products(near, query), 0) ** self.alpha
        expanded = query + weights @ near
        return products(candidates, expanded / np.linalg.norm(expanded))
