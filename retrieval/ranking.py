"""Embedded queries -> ranked hits: by one space, ranked anew, or fused of several; with their chances and quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.backgrounds import Backgrounds
from retrieval.collection import Collection
from retrieval.embedder import EmbeddedQuery
from retrieval.filters import Selection
from retrieval.findings import calibrated
from retrieval.fusion import DEPTH, Method, RankedList, fuse
from retrieval.gallery import Gallery
from retrieval.hits import Hits, Quality, hits_of
from retrieval.learn.calibration import DEPTH as CALIBRATED
from retrieval.learn.calibration_store import StoredCalibration
from retrieval.rerank import DEPTH as RERANKED
from retrieval.rerank import Reranker, reranked
from retrieval.rerank.mmr import MaximalMarginalRelevance
from retrieval.space_search import Nearest, SpaceSearch, padded
from retrieval.spaces import UnsupportedQueryError

_FUSED_AT_ONCE = 64
"""Queries whose lists are fused together: their scores are dense over all images that any of them lists."""


class Ranked(NamedTuple):
    """The images of one query, the best first: ids (m,), scores (m,) and by space distances (m,)."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    distances: Mapping[str, NDArray[np.float64]]

    def at(self, chosen: NDArray[np.int64]) -> Ranked:
        """Some of them, in the order of the places that are given."""
        distances = {name: values[chosen] for name, values in self.distances.items()}
        return Ranked(self.ids[chosen], self.scores[chosen], distances)


@dataclass(frozen=True, eq=False)
class Ranking:
    """A search for k images in one or several spaces, by name, whose options are resolved.

    gallery: the images that the selection admits. weights: of the spaces, in their order. reranker: for one space.
    calibration: what scores mean, where that is known; min_chance needs it.
    """

    k: int
    collection: Collection
    searches: Mapping[str, SpaceSearch]
    gallery: Gallery
    selection: Selection | None
    method: Method
    weights: Sequence[float]
    backgrounds: Backgrounds
    reranker: Reranker | None = None
    calibration: StoredCalibration | None = None
    min_chance: float | None = None

    def hits(self, queries: Sequence[EmbeddedQuery], without: Sequence[NDArray[np.int64]]) -> list[Hits]:
        """The hits of each query, which leaves out images (m,) ascending. Raises DamagedVectorError."""
        everything = self._of_everything(queries, without)
        ranked = self.ranked(queries, without)
        return [
            self._hits_of(query, one, out, first)
            for query, one, out, first in zip(queries, ranked, without, everything or ranked, strict=True)
        ]

    def ranked(self, queries: Sequence[EmbeddedQuery], without: Sequence[NDArray[np.int64]]) -> list[Ranked]:
        """The images of each query, as many as hits need, and as chances need. Raises DamagedVectorError."""
        for name in self.searches:
            self.collection.rows(name).require_whole()
        listed = min(self.k if self.calibration is None else max(self.k, CALIBRATED), len(self.collection))
        depth = listed
        if len(self.searches) > 1:
            depth = max(DEPTH, 10 * listed)
        elif self.reranker is not None:
            depth = max(RERANKED, listed)
        nearest = [search.nearest(queries, depth, self.selection, without) for search in self.searches.values()]
        if len(self.searches) > 1:
            ranked = self._fused(queries, nearest, listed)
        else:
            (search,) = self.searches.values()
            rank = self._by_similarity if self.reranker is None else self._anew
            ranked = [rank(search, query, *found) for query, found in zip(queries, nearest[0], strict=True)]
        ids = ranked[0].ids if len(ranked) == 1 else np.unique(np.concatenate([one.ids for one in ranked]))
        for name in self.searches:
            self.collection.require_undamaged(name, ids)
        return ranked

    def _of_everything(
        self, queries: Sequence[EmbeddedQuery], without: Sequence[NDArray[np.int64]]
    ) -> list[Ranked] | None:
        """The first images of the whole collection, by which chances are judged where a selection chose the hits."""
        if self.calibration is None or self.selection is None or self.selection.is_everything:
            return None
        return replace(self, k=CALIBRATED, selection=None, calibration=None).ranked(queries, without)

    def _by_similarity(
        self, search: SpaceSearch, query: EmbeddedQuery, ids: NDArray[np.int64], distances: NDArray[np.float64]
    ) -> Ranked:
        return Ranked(ids, search.scores(distances, query.vectors[search.name]), {search.name: distances})

    def _anew(
        self, search: SpaceSearch, query: EmbeddedQuery, ids: NDArray[np.int64], distances: NDArray[np.float64]
    ) -> Ranked:
        """A query's nearest images in a new order; those beyond the candidates stay behind."""
        assert self.reranker is not None
        made = query.vectors[search.name]
        vector = made.vectors[0] if len(made.vectors) == 1 else search.open().combine(made.vectors, made.weights)
        if vector is None:
            raise UnsupportedQueryError("the parts of the query cancel each other out, so there is nothing to expand")
        reranker = self.reranker
        if made.texts is not None and isinstance(reranker, MaximalMarginalRelevance):
            spread = self.backgrounds.spread_of_images(search.name, made)
            reranker = MaximalMarginalRelevance(reranker.relevance, spread)
        order, scores = reranked(reranker, vector, self.collection.rows(search.name).take(ids[:RERANKED]))
        behind = np.arange(len(order), len(ids))
        least = float(scores.min(initial=0))
        order = np.concatenate([order, behind])[: self.k]
        scores = np.concatenate([scores, least - 1 - np.arange(len(behind))])[: self.k]
        return Ranked(ids[order], scores, {search.name: distances[order]})

    def _fused(
        self, queries: Sequence[EmbeddedQuery], nearest: Sequence[Sequence[Nearest]], listed: int
    ) -> list[Ranked]:
        results = []
        for start in range(0, len(queries), _FUSED_AT_ONCE):
            block = slice(start, start + _FUSED_AT_ONCE)
            measured: Sequence[Sequence[Nearest]] = [lists[block] for lists in nearest]
            if self.method.by_score:
                measured = _measured(self.searches, queries[block], measured)
            lists = [
                search.scored_list(queries[block], found, *self.backgrounds.of_queries(search.name, queries[block]))
                if self.method.by_score
                else RankedList(padded([ids for ids, _ in found], -1))
                for search, found in zip(self.searches.values(), measured, strict=True)
            ]
            fused, scores = fuse(lists, self.weights, self.method.name)
            for row, query in enumerate(queries[block]):
                ids = fused[row, :listed][fused[row, :listed] >= 0]
                distances = {
                    name: search.completed(query.vectors[name], ids, found[row])
                    for (name, search), found in zip(self.searches.items(), measured, strict=True)
                }
                results.append(Ranked(ids, scores[row, : len(ids)], distances))
        return results

    def _hits_of(self, query: EmbeddedQuery, ranked: Ranked, without: NDArray[np.int64], first: Ranked) -> Hits:
        """The hits of one query; first: the first images of the whole collection, by which chances are judged."""
        chances = findings = None
        if self.calibration is not None:
            of_first = first.ids[:CALIBRATED], first.scores[:CALIBRATED]
            chances, findings = calibrated(self.calibration, self.collection, of_first, ranked.ids, ranked.scores)
            if query.novelty is not None and query.novelty.level == "foreign":  # chances are of pictures as here
                chances, findings = np.full(len(ranked.ids), np.nan), None
            chosen = np.arange(len(ranked.ids))[: self.k]
            if self.min_chance is not None:
                chosen = chosen[np.nan_to_num(chances[: self.k]) >= self.min_chance]
            ranked, chances = ranked.at(chosen), chances[chosen]
        hits = hits_of(self.collection, ranked.ids, ranked.scores, ranked.distances, chances)
        quality = None
        if query.class_name is not None:
            relevant = self.gallery.count_of(query.class_name, without)
            quality = Quality.of(sum(hit.class_name == query.class_name for hit in hits), relevant, self.k)
        several = len(self.searches) > 1
        return Hits(
            hits,
            tuple(self.searches),
            self.gallery.count(without),
            query.image_id,
            query.class_name,
            quality,
            self.collection,
            self.method.score_kind if several else self._score_kind(query),
            self.method.name if several else None,
            findings,
            query.novelty,
            query.query,
            query.feedback,
            query.text_matches,
            query.zero_shot,
        )

    def _score_kind(self, query: EmbeddedQuery) -> str:
        """What scores in one space are; one of `retrieval.hits.SCORE_KINDS`."""
        (made,) = query.vectors.values()
        if self.reranker is not None:
            return "re-ranked similarity"
        if made.is_signed:
            return "balance"
        if made.texts is not None:
            return "text similarity"
        return "class similarity" if query.text_matches else "similarity"


def _measured(
    searches: Mapping[str, SpaceSearch], queries: Sequence[EmbeddedQuery], nearest: Sequence[Sequence[Nearest]]
) -> list[list[Nearest]]:
    """By space and query, all that any space lists of the query, ascending by id, with its distances in this one."""
    candidates = [np.unique(np.concatenate([lists[row][0] for lists in nearest])) for row in range(len(queries))]
    return [
        [
            (ids, search.completed(query.vectors[search.name], ids, known))
            for query, ids, known in zip(queries, candidates, lists, strict=True)
        ]
        for search, lists in zip(searches.values(), nearest, strict=True)
    ]
