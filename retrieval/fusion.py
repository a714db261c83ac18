"""Several ranked lists -> one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RRF_CONSTANT = 60
"""Cormack, Clarke and Buettcher (SIGIR 2009) found 60; it keeps the first ranks of one list from deciding alone."""


def reciprocal_rank_fusion(
    rankings: Sequence[NDArray[np.int64]], weights: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Fuse ranked lists of ids by weighted reciprocal ranks.

    score(id) = sum over lists of w * (C + 1) / (C + rank) / sum of w, with C = 60: an id that is first in every list
    scores 1. Returns the ids, best first and ties by id, and their scores.
    """
    total = float(sum(weights))
    shares = [
        weight / total * (RRF_CONSTANT + 1) / (RRF_CONSTANT + np.arange(1, len(ranking) + 1))
        for ranking, weight in zip(rankings, weights, strict=True)
    ]
    ids, at = np.unique(np.concatenate(rankings), return_inverse=True)
    scores = np.zeros(len(ids))
    np.add.at(scores, at, np.concatenate(shares))
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]
