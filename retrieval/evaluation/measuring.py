"""Every measure of a block of queries, by the names that reports show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.choices import Measuring
from retrieval.evaluation.ranking import Ranking
from retrieval.metrics import (
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
"""Neighbours of each query that are kept, where no k is larger: the plots over k go so far."""
RECALL_LEVELS = np.linspace(0, 1, 101)
"""Where the precision-recall curves are sampled."""


@dataclass(frozen=True)
class Measured:
    """Figures of q queries; the fields are those of `SpaceResult`, rows (q,) being the queries."""

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
    measuring: Measuring,
    class_count: int,
) -> Measured:
    """Measure a ranking of a gallery for some queries, both rows of labels and ids (n,); scores are similarities."""
    largest = min(max(*measuring.ks, measuring.vote_k), len(labels))  # a k beyond the gallery needs no room
    keep = max(NEIGHBOURS, largest)
    nearest = np.full((len(queries), keep), -1, np.int64)
    nearest[:, : len(gallery)] = ranking.order[:, :keep]
    missing = nearest < 0
    distances = ranking.distances[np.arange(len(queries))[:, None], nearest]
    rows = gallery[nearest]
    classes = np.where(missing, -1, labels[rows])
    similarities = scores(distances)
    measures = ranking_measures(ranking, measuring.ks)
    scored = ranking.relevant.relevant > 0
    for k in measuring.ks:
        right = majority_vote_at(labels[queries], classes, similarities, k, class_count)
        measures[f"mMV@{k}"] = np.where(scored, right, np.nan)
    return Measured(
        rows=queries,
        relevant=ranking.relevant.relevant,
        listed=ranking.listed,
        measures=measures,
        predicted=majority_vote(classes, similarities, measuring.vote_k, class_count, weighted=True),
        neighbours=np.where(missing, -1, ids[rows]),
        distances=np.where(missing, np.inf, distances),
        curve=interpolated_precision(ranking.relevant, RECALL_LEVELS),
    )


def ranking_measures(ranking: Ranking, ks: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Every measure of a ranking that needs no vote, in the order of reports; each (q,)."""
    ranks = ranking.relevant
    measures = {
        "mAP": average_precision(ranks),
        "MAP@R": map_at_r(ranks),
        "R-precision": r_precision(ranks),
        "MRR": reciprocal_rank(ranks),
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
            measures[f"{name}@{k}"] = measure_at(ranks, k)
    return measures
