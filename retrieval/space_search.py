"""The nearest images to embedded queries in one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedder import EmbeddedQuery, QueryVectors
from retrieval.filters import Selection
from retrieval.fusion import DEPTH, RankedList, Statistics
from retrieval.index import Index
from retrieval.index.protocol import Metric
from retrieval.spaces import Space

Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids (m,) and distances (m,) of one query, nearest first, equal distances by id."""


@dataclass(frozen=True, eq=False)
class SpaceSearch:
    """A space with its index. Embeds nothing, so the space itself is not opened for a query that has its vectors."""

    name: str
    metric: Metric
    index: Index
    open: Callable[[], Space]

    def nearest(
        self,
        queries: Sequence[EmbeddedQuery],
        depth: int,
        selection: Selection | None,
        without: Sequence[NDArray[np.int64]],
    ) -> list[Nearest]:
        """The nearest `depth` images of each query, from one call of the index.

        without: ids that each query leaves out in addition to the selection.
        """
        vectors = [query.vectors[self.name] for query in queries]
        searched = [self._searched(made) for made in vectors]
        starts = np.cumsum([0, *map(len, searched)])
        left_out = [ids for ids, rows in zip(without, searched, strict=True) for _ in rows]
        # The nearest by the mean of several distances may be beyond the nearest by each of them.
        several = any(len(rows) > 1 for rows in searched)
        proposed = max(DEPTH, 10 * depth) if several else depth
        distances, ids = self.index.search(np.concatenate(searched), proposed, selection, left_out)
        return [
            self._one(made, distances[start:end], ids[start:end], depth)
            for made, start, end in zip(vectors, starts[:-1], starts[1:], strict=True)
        ]

    def distances(self, query: QueryVectors, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weighted mean distances (m,) of a query's parts to images; NaN where an image has no vector in the space."""
        distances = self.index.distances(query.vectors, ids)
        if len(query.vectors) > 1:
            distances = query.weights[None] @ distances / query.weights.sum()
        # Unit vectors in single precision are of unit length but for rounding: their cosine may pass 1 by 1e-7.
        nearest: NDArray[np.float64] = np.maximum(distances[0], 0)
        return nearest

    def similarities(self, query: QueryVectors, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """The metric's scores of those distances."""
        return np.asarray(self.metric.scores(self.distances(query, ids)), np.float64)

    def scored_list(
        self, queries: Sequence[EmbeddedQuery], candidates: Sequence[NDArray[np.int64]], statistics: Statistics
    ) -> RankedList:
        """The candidates of each query, from whatever space, with their similarities in this one."""
        scores = [
            self.similarities(query.vectors[self.name], ids) for query, ids in zip(queries, candidates, strict=True)
        ]
        return RankedList(padded(candidates, -1), padded(scores, np.nan), statistics)

    def _searched(self, query: QueryVectors) -> NDArray[Any]:
        """The vectors that propose candidates: one where its order is that of the mean distance, else every part's."""
        if len(query.vectors) == 1:
            return query.vectors
        combined = self.open().combine(query.vectors, query.weights)
        return query.vectors if combined is None else combined[None]

    def _one(self, query: QueryVectors, distances: NDArray[np.float64], ids: NDArray[np.int64], depth: int) -> Nearest:
        if len(query.vectors) == 1:
            listed = ids[0, :depth] >= 0
            return ids[0, :depth][listed], np.maximum(distances[0, :depth][listed], 0)
        candidates = np.unique(ids[ids >= 0])
        means = self.distances(query, candidates)
        order = np.lexsort((candidates, means))[:depth]
        return candidates[order], means[order]


def padded(rows: Sequence[NDArray[Any]], value: float) -> NDArray[Any]:
    """Rows of different lengths as one array (q, m), filled up with a value."""
    out = np.full((len(rows), max(map(len, rows), default=0)), value, rows[0].dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out
