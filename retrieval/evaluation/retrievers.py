"""Retrievers: they order a gallery for a query, by the distance of one space or by several spaces fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.native_distance import NativeDistance
from retrieval.evaluation.proposed import Proposed
from retrieval.evaluation.ranking import Labelled, rank
from retrieval.fusion import DEFAULT_METHOD, DEPTH, RankedList, Statistics, fuse_dense, method_named
from retrieval.fusion.statistics import of_scores, sampled
from retrieval.index.cosine import Cosine
from retrieval.index.protocol import Metric
from retrieval.rerank import DEPTH as RERANKED
from retrieval.rerank import reranked, reranker_named
from retrieval.rerank.products import products

IN_DOUBLE = 20_000
"""Vectors of a gallery up to which a copy of it in double precision is made."""
_DOUBLE_ROWS = 4096
"""Vectors of a larger one that are in double precision at a time, in each thread."""

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]


class Retriever(Protocol):
    """Orders n images for a query that is one of them."""

    @property
    def metric_name(self) -> str:
        """The name of its distance in reports."""
        ...

    @property
    def dimension(self) -> int | None:
        """Length of a vector, where there is one."""
        ...

    def distances_to(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """The function from rows of queries (q,) to their distances (q, m) to gallery rows (m,)."""
        ...

    def scores(self, distances: Floats) -> Floats:
        """Similarities for distances of any shape."""
        ...


@dataclass(frozen=True, eq=False)
class SpaceRetriever:
    """One space: vectors (n, d) in its stored dtype, its native distance, and what proposes images; None for all."""

    vectors: NDArray[np.generic]
    metric: Metric
    proposed: Proposed | None = None

    @property
    def metric_name(self) -> str:
        """The native distance's name."""
        return self.metric.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def distances_to(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Retriever`."""
        distances = distances_to_vectors(self.metric, _rows_of(self.vectors, gallery))
        if self.proposed is None:
            return lambda queries: distances(self.vectors[queries])
        seen = self.proposed.among(gallery)
        return lambda queries: seen(queries, self.vectors[queries], distances(self.vectors[queries]))

    def scores(self, distances: Floats) -> Floats:
        """The metric's own."""
        return self.metric.scores(distances)


_TIE = 1e-12
"""Added to the distance at each rank of a new ranking, so that equal scores keep its order, not that of the ids."""


@dataclass(frozen=True, eq=False)
class RerankedRetriever:
    """One space of embeddings (n, d) whose nearest images are ranked anew, as a search ranks them.

    groups: (n,) as in a protocol; what a query's ranked list leaves out is no candidate, so nothing of it leaks. Images
    beyond the candidates follow by their similarity.
    """

    vectors: NDArray[np.generic]
    groups: Rows
    method: str

    metric_name = Cosine.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def distances_to(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Retriever`; a distance is the negative score."""
        method, searched = reranker_named(self.method), np.asarray(self.vectors[gallery], np.float64)

        def of_query(row: int) -> Floats:
            query = np.asarray(self.vectors[row], np.float64)
            similar = products(searched, query)
            allowed = np.flatnonzero(self.groups[gallery] != self.groups[row])
            near = allowed[np.argsort(-similar[allowed], kind="stable")[:RERANKED]]
            order, scores = reranked(method, query, searched[near])
            distances: NDArray[np.float64] = 3 - scores.min(initial=0) - similar  # behind every candidate
            distances[near[order]] = -scores + _TIE * np.arange(len(order))
            return distances

        return lambda queries: np.stack([of_query(int(row)) for row in queries])

    def scores(self, distances: Floats) -> Floats:
        """The score of the method."""
        return -distances


@dataclass(frozen=True, eq=False)
class Member:
    """A space in a fusion: vectors (m, d) of the images rows (m,) of n, distance, weight, and what proposes images."""

    vectors: NDArray[np.generic]
    rows: Rows
    metric: Metric
    weight: float = 1.0
    proposed: Proposed | None = None


@dataclass(frozen=True, eq=False)
class FusedRetriever:
    """Several spaces fused by a method of `retrieval.fusion`, as `retrieval.search` fuses them.

    A search fuses the images that are among the first 1,000 of any space and gives no score to the others. So that a
    whole list can be measured, the others follow, by their fused scores over the whole lists.
    groups: (n,) as in a protocol; what a query's ranked list leaves out takes no rank in any space.
    A query must have a vector in every space; an image of the gallery may lack some. Statistics that a method needs are
    those of the gallery, so that nothing is learnt from the queries of a split.
    """

    members: Sequence[Member]
    groups: Rows
    method: str = DEFAULT_METHOD

    dimension = None

    @property
    def metric_name(self) -> str:
        """What the method sums."""
        return method_named(self.method).summands

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Mask of the images that can be queries, (n,): those that have a vector in every space."""
        counts = np.zeros(len(self.groups), np.int64)
        for member in self.members:
            counts[member.rows] += 1
        complete: NDArray[np.bool_] = counts == len(self.members)
        return complete

    def distances_to(self, gallery: Rows) -> Callable[[Rows], Floats]:
        """See `Retriever`; a distance is the negative score, of a search's score where a search gives one."""
        by_score = method_named(self.method).by_score
        weights = [member.weight for member in self.members]
        lists_of = [self._ranked_lists(member, gallery, by_score) for member in self.members]

        def distances(queries: Rows) -> Floats:
            whole = [ranked_lists(queries) for ranked_lists in lists_of]
            scores, candidates = fuse_dense(whole, weights, self.method, len(gallery))
            searched = scores
            if len(gallery) > DEPTH:
                first = [_cut(ranked, DEPTH) for ranked in whole]
                searched, candidates = fuse_dense(first, weights, self.method, len(gallery))
            if by_score:
                searched = scores  # a search takes the scores of its candidates in all spaces
                above = np.where(candidates, -np.inf, scores).max(axis=1, initial=-np.inf)
                below = np.where(candidates, scores, np.inf).min(axis=1, initial=np.inf)
                others = scores - np.where(np.isfinite(above - below), above - below + 1, 0)[:, None]
            else:
                others = scores - 1  # ranks give scores above 0 and up to 1
            return -np.where(candidates, searched, others)

        return distances

    def scores(self, distances: Floats) -> Floats:
        """The fused score; below that of every candidate for an image that a search does not fuse."""
        return -distances

    def _ranked_lists(self, member: Member, gallery: Rows, by_score: bool) -> Callable[[Rows], RankedList]:
        """The function from queries (q,) to a space's ranked lists; ids are columns of the gallery, -1 for none."""
        row_of = np.full(len(self.groups), -1, np.int64)
        row_of[member.rows] = np.arange(len(member.rows))
        columns = np.flatnonzero(row_of[gallery] >= 0)
        vectors = member.vectors[row_of[gallery[columns]]]
        distances = distances_to_vectors(member.metric, vectors)
        labelled = self._unlabelled(gallery[columns])
        column_of = np.append(columns, -1)  # -1, no image, is the last
        statistics = [_statistics(member.metric, vectors)] if by_score else []
        seen = None if member.proposed is None else member.proposed.among(gallery[columns])

        def ranked_lists(queries: Rows) -> RankedList:
            searched = member.vectors[row_of[queries]]
            measured = distances(searched)
            if seen is not None:
                measured = seen(queries, searched, measured)
            ranking = rank(measured, self._unlabelled(queries), labelled)
            scores = None
            if by_score:
                in_order = np.take_along_axis(ranking.distances, ranking.order.astype(np.int64), axis=1)
                scores = np.asarray(member.metric.scores(in_order), np.float64)
            return RankedList(column_of[ranking.order], scores, statistics)

        return ranked_lists

    def _unlabelled(self, rows: Rows) -> Labelled:
        """Input of `rank` for rows whose classes do not matter."""
        return Labelled(np.full(len(rows), -1, np.int64), self.groups[rows])


def distances_to_vectors(
    metric: Metric, gallery: NDArray[np.generic]
) -> Callable[[NDArray[np.generic]], NDArray[np.floating]]:
    """The function from a block of queries (q, d) to their distances (q, n) to a gallery (n, d).

    Cosine is one matrix product in double precision. A BLAS does not promise that equal vectors get equal products, so
    every copy of a vector takes the distance of the first one, and ties stay ties.
    """
    if metric.name != "cosine":
        gallery = np.asarray(gallery)  # read once, where it is gathered from a file
    if isinstance(metric, NativeDistance):
        compact = metric.compact(gallery)  # once, not for every block
        return lambda queries: metric.compact_distances(metric.compact(queries), compact)
    if metric.name != "cosine":
        return lambda queries: metric.distances(queries, gallery)
    first: dict[bytes, int] = {}
    digests = (blake2b(vector.tobytes(), digest_size=16).digest() for vector in gallery)
    original = np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], np.int64)
    copies = np.flatnonzero(original != np.arange(len(gallery)))
    del first
    if len(gallery) > IN_DOUBLE:
        return partial(_blocked_cosine_distances, gallery, original, copies)
    transposed = np.asarray(gallery, np.float64).T

    def cosine_distances(queries: NDArray[np.generic]) -> NDArray[np.floating]:
        distances = np.asarray(queries, np.float64) @ transposed
        np.subtract(1, distances, out=distances)
        distances[:, copies] = distances[:, original[copies]]
        return distances

    return cosine_distances


def _blocked_cosine_distances(
    gallery: NDArray[np.generic], original: Rows, copies: Rows, queries: NDArray[np.generic]
) -> NDArray[np.floating]:
    """Distances (q, n) of queries (q, d), a block of the gallery in double precision at a time."""
    left = np.asarray(queries, np.float64)
    distances = np.empty((len(left), len(gallery)))
    for start in range(0, len(gallery), _DOUBLE_ROWS):
        block = np.asarray(gallery[start : start + _DOUBLE_ROWS], np.float64)
        np.matmul(left, block.T, out=distances[:, start : start + _DOUBLE_ROWS])
    np.subtract(1, distances, out=distances)
    distances[:, copies] = distances[:, original[copies]]
    return distances


def _rows_of(vectors: NDArray[np.generic], rows: Rows) -> NDArray[np.generic]:
    """Rows (m,) of vectors; all of them as they are, without a copy."""
    everything = len(rows) == len(vectors) and bool((rows == np.arange(len(vectors))).all())
    return vectors if everything else vectors[rows]


def _cut(ranked: RankedList, depth: int) -> RankedList:
    scores = None if ranked.scores is None else ranked.scores[:, :depth]
    return RankedList(ranked.ids[:, :depth], scores, ranked.statistics)


def _statistics(metric: Metric, vectors: NDArray[np.generic]) -> Statistics:
    """Of the same sample of the gallery that a search takes, where the gallery is the collection."""
    chosen = vectors[sampled(np.arange(len(vectors)))]
    scores = metric.scores(metric.distances(chosen, chosen))
    return of_scores(scores[np.triu_indices(len(chosen), 1)])
