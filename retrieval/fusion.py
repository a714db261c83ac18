"""Several ranked lists -> one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RRF_CONSTANT = 60
"""Cormack, Clarke and Buettcher (SIGIR 2009) found 60; it keeps the first ranks of one list from deciding alone."""
DEPTH = 1000
"""How deep each space of a fusion is asked, where no more than a hundred hits are wanted."""


def rank_scores(share: float, count: int) -> NDArray[np.float64]:
    """What the ranks 1 to count of a list with this share of all weights add to a score, (count,).

    share * (C + 1) / (C + rank), with C = 60: first in every list scores 1.
    """
    scores: NDArray[np.float64] = share * (RRF_CONSTANT + 1) / (RRF_CONSTANT + np.arange(1, count + 1))
    return scores


def reciprocal_rank_fusion(
    rankings: Sequence[NDArray[np.int64]], weights: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fuse ranked lists of ids by weighted reciprocal ranks.

    score(id) = sum over lists of `rank_scores` with the list's share w / sum of w. Returns the ids, best first and ties
    by id, and their scores.
    """
    total = float(sum(weights))
    added = [rank_scores(weight / total, len(ranking)) for ranking, weight in zip(rankings, weights, strict=True)]
    ids, at = np.unique(np.concatenate(rankings), return_inverse=True)
    scores = np.zeros(len(ids))
    np.add.at(scores, at, np.concatenate(added))
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]
