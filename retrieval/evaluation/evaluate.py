"""Measure one space: rank for every query, take every measure, keep what reports need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import QueryError
from retrieval.evaluation.protocols import Protocol, Round, cluster_numbers, protocol_named
from retrieval.evaluation.ranking import Ranking, Side, distances_by, rank
from retrieval.evaluation.result import SpaceResult
from retrieval.index.protocol import Metric
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

KS = (1, 5, 10, 20)
"""The k of every measure that has one, unless told otherwise."""
VOTE_K = 5
"""Neighbours that vote on a query's class, unless told otherwise."""
NEIGHBOURS = 100
"""Neighbours of each query that are kept: the plots over k go so far."""
RECALL_LEVELS = np.linspace(0, 1, 101)
"""Where the precision-recall curves are sampled."""
_BLOCK = 128
"""Queries ranked together: 128 of 8,000 distances stay in a core's cache; the same whatever the number of threads."""


class NothingToEvaluateError(QueryError):
    """No image has a class, so nothing is relevant to anything."""


@dataclass(frozen=True)
class _Images:
    vectors: NDArray[np.generic]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    groups: NDArray[np.int64]

    def side(self, rows: NDArray[np.int64]) -> Side:
        return Side(self.labels[rows], self.groups[rows])


def evaluate_space(
    vectors: NDArray[np.generic],
    metric: Metric,
    labels: NDArray[np.integer],
    class_names: list[str] | tuple[str, ...],
    clusters: NDArray[np.integer] | None = None,
    ids: NDArray[np.integer] | None = None,
    protocol: str | Protocol = "leave-one-out",
    space: str = "",
    ks: tuple[int, ...] = KS,
    vote_k: int = VOTE_K,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SpaceResult:
    """Every measure of one space under one protocol.

    vectors (n, d) in the space's stored dtype; labels (n,) int, -1 for an image without a class, which is searched but
    is no query; clusters (n,) int, near duplicates share one, -1 or None for an image of its own; ids (n,) ascending,
    0 to n - 1 unless given. A `Protocol` must be made for these n images. space is the name that reports show.
    progress(done, all queries) is called as it goes.
    Memory grows with n: rankings are measured block by block and not kept. Raises NothingToEvaluateError, UnknownProtocolError,
    UndefinedDistanceError.
    """
    n = len(vectors)
    labels = np.asarray(labels, np.int64)
    if not (labels >= 0).any():
        raise NothingToEvaluateError(
            "no image has a class; index folders named after classes to evaluate a collection"
        )
    ids = np.arange(n) if ids is None else np.asarray(ids, np.int64)
    numbers = cluster_numbers(np.full(n, -1) if clusters is None else clusters)
    if isinstance(protocol, str):
        protocol = protocol_named(protocol, numbers)
    images = _Images(vectors, labels, ids, protocol.groups)
    keep = max(*ks, vote_k, NEIGHBOURS)
    blocks = list(
        _measured(images, metric, protocol, tuple(class_names), ks, vote_k, keep, threads, progress)
    )
    if not blocks:
        raise NothingToEvaluateError(f"no query of the protocol {protocol.name} has a class")
    rows = np.concatenate([block.rows for block in blocks])
    by_id = np.argsort(ids[rows], kind="stable")
    rows = rows[by_id]

    def joined(field: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(block, field) for block in blocks])[by_id]

    return SpaceResult(
        space=space,
        dimension=vectors.shape[1],
        metric=metric.name,
        protocol=protocol.name,
        protocol_sentence=protocol.sentence,
        class_names=tuple(class_names),
        class_sizes=np.bincount(labels[labels >= 0], minlength=len(class_names)),
        unlabelled=int((labels < 0).sum()),
        cluster_count=len(np.unique(numbers)),
        ks=tuple(ks),
        vote_k=vote_k,
        ids=ids[rows],
        labels=labels[rows],
        clusters=numbers[rows],
        relevant=joined("relevant"),
        listed=joined("listed"),
        measures={
            name: np.concatenate([block.measures[name] for block in blocks])[by_id]
            for name in blocks[0].measures
        },
        predicted=joined("predicted"),
        neighbours=joined("neighbours"),
        distances=joined("distances"),
        curve=joined("curve"),
    )


@dataclass(frozen=True)
class _Block:
    rows: NDArray[np.int64]
    relevant: NDArray[np.int64]
    listed: NDArray[np.int64]
    measures: dict[str, NDArray[np.float64]]
    predicted: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    distances: NDArray[np.float64]
    curve: NDArray[np.float64]


def _measured(
    images: _Images,
    metric: Metric,
    protocol: Protocol,
    class_names: tuple[str, ...],
    ks: tuple[int, ...],
    vote_k: int,
    keep: int,
    threads: int | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[_Block]:
    rounds = [_by_id(images, one) for one in protocol.rounds]
    total = sum(len(one.queries) for one in rounds)
    done = 0
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for one in rounds:
            distances = distances_by(metric, images.vectors[one.gallery])
            gallery = images.side(one.gallery)

            def measure(
                queries: NDArray[np.int64],
                distances: Callable[[NDArray[np.generic]], NDArray[np.floating]] = distances,
                gallery: Side = gallery,
                gallery_rows: NDArray[np.int64] = one.gallery,
            ) -> _Block:
                ranking = rank(distances(images.vectors[queries]), images.side(queries), gallery)
                return _measure(
                    ranking, images, queries, gallery_rows, metric, len(class_names), ks, vote_k, keep
                )

            starts = range(0, len(one.queries), _BLOCK)
            for block in pool.map(measure, [one.queries[start : start + _BLOCK] for start in starts]):
                done += len(block.rows)
                if progress is not None:
                    progress(done, total)
                yield block


def _by_id(images: _Images, one: Round) -> Round:
    """Labelled queries only, and the gallery by image id, so that a tie by row is a tie by id."""
    queries = one.queries[images.labels[one.queries] >= 0]
    return Round(queries, one.gallery[np.argsort(images.ids[one.gallery], kind="stable")])


def _measure(
    ranking: Ranking,
    images: _Images,
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    metric: Metric,
    class_count: int,
    ks: tuple[int, ...],
    vote_k: int,
    keep: int,
) -> _Block:
    nearest = ranking.order[:, :keep].astype(np.int64)
    missing = nearest < 0
    distances = np.take_along_axis(ranking.distances, np.maximum(nearest, 0), axis=1)
    rows = gallery[nearest]
    classes = np.where(missing, -1, images.labels[rows])
    similarities = metric.scores(distances)
    measures = ranking_measures(ranking, ks)
    labels = images.labels[queries]
    scored = ranking.relevant.relevant > 0
    for k in ks:
        right = majority_vote_at(labels, classes, similarities, k, class_count)
        measures[f"mMV@{k}"] = np.where(scored, right, np.nan)
    return _Block(
        rows=queries,
        relevant=ranking.relevant.relevant,
        listed=ranking.listed,
        measures=measures,
        predicted=majority_vote(classes, similarities, vote_k, class_count, weighted=True),
        neighbours=np.where(missing, -1, images.ids[rows]),
        distances=np.where(missing, np.inf, distances),
        curve=interpolated_precision(ranking.relevant, RECALL_LEVELS),
    )


def ranking_measures(ranking: Ranking, ks: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Every measure of a ranking by the name that reports show, in their order; each (q,)."""
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
    for name, measure in at_k.items():
        for k in ks:
            measures[f"{name}@{k}"] = measure(ranks, k)
    return measures
