"""Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): near the query, and unlike what ranks before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.products import products


class MaximalMarginalRelevance:
    """relevance: weight of the cosine to the query; the rest is that of the largest cosine to one ranked before.

    spread: factor of the cosines to a query that vary less than those of images among themselves, as a text's do.
    """

    name = "mmr"

    def __init__(self, relevance: float = 0.7, spread: float = 1.0) -> None:
        self.relevance = relevance
        self.spread = spread

    def scores(self, query: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.float64]:
        """The marginal relevance (m,) of candidates (m, d) when each was chosen, which never grows on the way.

        Cosines below 0 count as 0 among candidates, so that the first, which nothing precedes, has no penalty.
        """
        relevance = self.relevance * self.spread * products(candidates, query)
        likeness = (1 - self.relevance) * np.maximum(products(candidates, candidates), 0)
        marginal = relevance.copy()
        penalty, scores = np.zeros(len(candidates)), np.empty(len(candidates))
        for _ in range(len(candidates)):
            best = int(marginal.argmax())
            scores[best] = marginal[best]
            np.maximum(penalty, likeness[best], out=penalty)
            marginal = np.where(np.isneginf(marginal), -np.inf, relevance - penalty)
            marginal[best] = -np.inf
        return scores
