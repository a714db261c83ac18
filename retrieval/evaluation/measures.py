"""Every measure of a block of queries, under the names of the reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.options import MeasureOptions
from retrieval.evaluation.ranking import Ranking
from retrieval.metrics import (
    Relevance,
    average_precision,
    average_precision_at,
    hit_at,
    interpolated_precision,
    majority_vote,
    majority_vote_at,
    map_at_r,
    ndcg_at,
    precision_at,
    r_precision,
    recall_at,
    recall_ceiling_at,
    reciprocal_rank,
)

NEIGHBOURS = 100
"""Neighbours of each query in a result, where no k is larger; the plots over k end there."""
RECALL_LEVELS = np.linspace(0, 1, 101)
"""Recall at which the precision-recall curves are sampled."""


@dataclass(frozen=True, eq=False)
class BlockResult:
    """Figures of q queries, with the fields of `SpaceResult`; rows (q,) are the queries."""

    rows: NDArray[np.int64]
    relevant: NDArray[np.int64]
    listed: NDArray[np.int64]
    measures: dict[str, NDArray[np.float64]]
    predicted: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    distances: NDArray[np.float64]
    curve: NDArray[np.float64]


def measure(
    ranking: Ranking,
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
    scores: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    options: MeasureOptions,
    class_count: int,
) -> BlockResult:
    """Every measure of the ranked lists of some queries in a gallery.

    queries (q,) and gallery (m,) are rows of labels and ids (n,). scores: distances -> similarities.
    """
    largest = min(max(*options.ks, options.vote_k), len(labels))  # a k beyond the gallery needs no room
    depth = max(NEIGHBOURS, largest)
    nearest = np.full((len(queries), depth), -1, np.int64)
    nearest[:, : len(gallery)] = ranking.order[:, :depth]
    missing = nearest < 0
    distances = ranking.distances[np.arange(len(queries))[:, None], nearest]
    rows = gallery[nearest]
    classes = np.where(missing, -1, labels[rows])
    similarities = scores(distances)
    measures = ranking_measures(ranking.relevance, options.ks)
    scored = ranking.relevance.counts > 0
    for k in options.ks:
        right = majority_vote_at(labels[queries], classes, similarities, k, class_count)
        measures[f"mMV@{k}"] = np.where(scored, right, np.nan)
    return BlockResult(
        rows=queries,
        relevant=ranking.relevance.counts,
        listed=ranking.listed,
        measures=measures,
        predicted=majority_vote(classes, similarities, options.vote_k, class_count, weighted=True),
        neighbours=np.where(missing, -1, ids[rows]),
        distances=np.where(missing, np.inf, distances),
        curve=interpolated_precision(ranking.relevance, RECALL_LEVELS),
    )


def ranking_measures(relevance: Relevance, ks: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Every measure that needs the ranks of the relevant images alone, in the order of the reports; each (q,)."""
    measures = {
        "mAP": average_precision(relevance),
        "MAP@R": map_at_r(relevance),
        "R-precision": r_precision(relevance),
        "MRR": reciprocal_rank(relevance),
    }
    at_k = {
        "precision": precision_at,
        "recall": recall_at,
        "recall ceiling": recall_ceiling_at,
        "hit": hit_at,
        "AP": average_precision_at,
        "nDCG": ndcg_at,
    }
    for name, measure_at in at_k.items():
        for k in ks:
            measures[f"{name}@{k}"] = measure_at(relevance, k)
    return measures
