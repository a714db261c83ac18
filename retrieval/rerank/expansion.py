"""Database-side augmentation of the candidates, then alpha query expansion of the query by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.database_augmentation import DatabaseAugmentation
from retrieval.rerank.products import products
from retrieval.rerank.query_expansion import QueryExpansion


class Expansion:
    """Both, the candidates first; the query then takes in the augmented ones that are nearest to it."""

    name = "expansion"

    def __init__(self, neighbours: int = 10, alpha: float = 3.0) -> None:
        self._candidates = DatabaseAugmentation(neighbours, alpha)
        self._query = QueryExpansion(neighbours, alpha)

    def scores(self, query: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cosines (m,) of the augmented candidates (m, d) to the expanded query."""
        augmented = self._candidates.augmented(candidates)
        order = np.argsort(-products(augmented, query), kind="stable")
        scores = np.empty(len(candidates))
        scores[order] = self._query.scores(query, augmented[order])
        return scores
