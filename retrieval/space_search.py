"""The nearest images to embedded queries in one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.embedder import EmbeddedQuery
from retrieval.filters import Selection, among
from retrieval.fusion import DEPTH, RankedList, Statistics
from retrieval.index import Index
from retrieval.index.neighbours import empty_neighbours, nearest, selected, without_ids
from retrieval.index.protocol import EXACT, Metric
from retrieval.query_vectors import QueryVectors
from retrieval.spaces import Space

Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids (m,) and distances (m,) of one query, nearest first, equal distances by id."""


@dataclass(frozen=True, eq=False)
class SpaceSearch:
    """A space with its index. Embeds nothing, so the space itself is not opened for a query that has its vectors.

    ids: (n,) ascending, the images in the index.
    """

    name: str
    metric: Metric
    index: Index
    ids: NDArray[np.int64]
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

        The nearest by the mean of several distances may be beyond the nearest by each of them. So where no one vector
        has the order of the mean, an exact index compares every image with every part; one that is not exact proposes
        candidates by each part, as many as ten times the depth.
        """
        vectors = [query.vectors[self.name] for query in queries]
        if all(len(made.vectors) == 1 for made in vectors):
            together = vectors[0].vectors if len(vectors) == 1 else np.concatenate([made.vectors for made in vectors])
            return _listed(*self.index.search(together, depth, selection, without))
        searched = [self._searched(made) for made in vectors]
        starts = np.cumsum([0, *map(len, searched)])
        left_out = [ids for ids, rows in zip(without, searched, strict=True) for _ in rows]
        several = any(len(rows) > 1 for rows in searched)
        proposed = max(DEPTH, 10 * depth) if several else depth
        together = np.concatenate(searched)
        if len(together):
            distances, ids = self.index.search(together, proposed, selection, left_out)
        else:
            distances, ids = empty_neighbours(0, proposed)
        results = []
        for made, excluded, start, end in zip(vectors, without, starts[:-1], starts[1:], strict=True):
            if len(made.vectors) == 1:
                results += _listed(distances[start:end, :depth], ids[start:end, :depth])
            elif start == end:
                results.append(self._ranked(made, without_ids(selected(self.ids, selection), excluded), depth))
            else:
                candidates = ids[start:end]
                results.append(self._ranked(made, np.unique(candidates[candidates >= 0]), depth))
        return results

    def distances(self, query: QueryVectors, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (m,) of a query to images, see `Query`; NaN where an image has no vector in the space."""
        distances = self.index.distances(query.vectors, ids)
        if len(query.vectors) > 1:
            distances = query.weights[None] @ distances / query.positive
        if query.is_signed:
            return np.asarray(distances[0])
        # Unit vectors in single precision are of unit length but for rounding: their cosine may pass 1 by 1e-7.
        nearest: NDArray[np.float64] = np.maximum(distances[0], 0)
        return nearest

    def completed(self, query: QueryVectors, ids: NDArray[np.int64], known: Nearest) -> NDArray[np.float64]:
        """The same distances (m,), of which those of `known` images are not computed again."""
        known_ids, distances = known
        order = np.argsort(known_ids)
        ordered = known_ids[order]
        there = among(ids, ordered)
        result = np.empty(len(ids))
        result[there] = distances[order[np.searchsorted(ordered, ids[there])]]
        if not there.all():
            result[~there] = self.distances(query, ids[~there])
        return result

    def scored_list(
        self,
        queries: Sequence[EmbeddedQuery],
        measured: Sequence[Nearest],
        of_images: Statistics,
        of_texts: Statistics | None = None,
    ) -> RankedList:
        """Candidates of each query, from whatever space, with their similarities in this one and its background.

        of_images, of_texts: the background of the space's images, and where a query has a text with a vector of its
        own, of texts. Similarities to a query with negative weights are shifted so that a random image scores as it
        does for any other query.
        """
        made = [query.vectors[self.name] for query in queries]
        scores = [
            self.scores(distances, each) + (_shift(each, of_images, of_texts) if each.is_signed else 0.0)
            for each, (_, distances) in zip(made, measured, strict=True)
        ]
        statistics = [of_images]
        if of_texts is not None:
            statistics = [of_images.blended(of_texts, each.text_share) for each in made]
        return RankedList(padded([ids for ids, _ in measured], -1), padded(scores, np.nan), statistics)

    def scores(self, distances: NDArray[np.float64], query: QueryVectors) -> NDArray[np.float64]:
        """Similarities of distances (m,); with negative weights, to what is wanted less that to what is not.

        Below a distance of 0 the curve goes on point-symmetrically, as the cosine's does by itself, and the share of
        negative weights comes off: so in a cosine space the score is the weighted sum of cosines.
        """
        if not query.is_signed:
            return np.asarray(self.metric.scores(distances), np.float64)
        similar = np.asarray(self.metric.scores(np.abs(distances)), np.float64)
        scores: NDArray[np.float64] = np.where(distances < 0, 2 - similar, similar) - query.negative_share
        return scores

    def _searched(self, query: QueryVectors) -> NDArray[Any]:
        """The vectors that propose candidates: one where its order is that of the mean distance, else every part's.

        None where an exact index compares every image.
        """
        if len(query.vectors) == 1:
            return query.vectors
        combined = self.open().combine(query.vectors, query.weights)
        if combined is not None:
            return combined[None]
        return query.vectors[:0] if self.index.description == EXACT else query.vectors[query.weights > 0]

    def _ranked(self, query: QueryVectors, candidates: NDArray[np.int64], depth: int) -> Nearest:
        """The nearest of candidates (m,) ascending by their distance to a query."""
        means = self.distances(query, candidates)
        order = nearest(means, depth)
        return candidates[order], means[order]


def _shift(query: QueryVectors, of_images: Statistics, of_texts: Statistics | None) -> float:
    """What the negative weights of a query take from the similarity of a random image."""
    if query.texts is None or of_texts is None:
        return of_images.mean * query.negative_share
    means = np.where(query.texts, of_texts.mean, of_images.mean)
    return -float((query.weights * means).sum(where=query.weights < 0)) / query.positive


def _listed(distances: NDArray[np.float64], ids: NDArray[np.int64]) -> list[Nearest]:
    """Neighbours (q, k) of queries of one vector each, without those that fill a row up."""
    results = []
    for row, own in zip(ids, distances, strict=True):
        listed = row >= 0
        results.append((row[listed], np.maximum(own[listed], 0)))
    return results


def padded(rows: Sequence[NDArray[Any]], value: float) -> NDArray[Any]:
    """Rows of different lengths as one array (q, m), filled up with a value."""
    out = np.full((len(rows), max(map(len, rows), default=0)), value, rows[0].dtype)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return out
