"""The class that a query's neighbours vote for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, as_cutoff


def majority_vote(
    classes: NDArray[np.integer],
    similarities: NDArray[np.floating],
    k: Cutoff,
    class_count: int,
    *,
    weighted: bool = False,
) -> NDArray[np.int64]:
    """Class of each query as its first k neighbours vote, (q,) int; -1 where none of them has a class.

    classes (q, K) int, nearest first, -1 for an unlabelled neighbour or none; similarities (q, K), larger is nearer.
    Plain, each neighbour has one vote and a tie goes to the class with the larger summed similarity; weighted, each
    votes with its similarity. In both sums a negative similarity, which a cosine can be, counts as 0, so that no
    neighbour votes against its own class. A tie that remains goes to the class that came first.
    Dudani, The distance-weighted k-nearest-neighbor rule (IEEE Transactions on SMC 1976), for weighted votes.
    """
    k = as_cutoff(k)
    classes, similarities = classes[:, :k], np.maximum(similarities[:, :k], 0)
    if not classes.size:
        return np.full(len(classes), -1)
    queries = np.arange(len(classes))
    voter = classes >= 0
    cell = (queries[:, None] * class_count + classes)[voter]
    size = len(classes) * class_count
    summed = np.bincount(cell, similarities[voter], size).reshape(-1, class_count)
    counted = np.bincount(cell, minlength=size).reshape(-1, class_count)
    best = counted > 0 if weighted else counted == counted.max(axis=1, keepdims=True, initial=1)
    leading = np.where(best, summed, -np.inf)
    best &= summed == leading.max(axis=1, keepdims=True, initial=-np.inf)
    elected = voter & best[queries[:, None], classes]
    winner: NDArray[np.int64] = classes[queries, elected.argmax(axis=1)].astype(np.int64)
    winner[~voter.any(axis=1)] = -1
    return winner


def majority_vote_at(
    query_classes: NDArray[np.integer],
    classes: NDArray[np.integer],
    similarities: NDArray[np.floating],
    k: Cutoff,
    class_count: int,
) -> NDArray[np.float64]:
    """mMV@k = 1 if the majority class of the first k is the query's, else 0, of each query, (q,).

    Chen et al., Fast and scalable search of whole-slide images via self-supervised deep learning (Nature Biomedical
    Engineering 2022), who report its mean.
    """
    right: NDArray[np.bool_] = majority_vote(classes, similarities, k, class_count) == query_classes
    return right.astype(np.float64)
