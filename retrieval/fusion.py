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
    scores: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, image_id in enumerate(ranking.tolist(), start=1):
            share = weight / total * (RRF_CONSTANT + 1) / (RRF_CONSTANT + rank)
            scores[image_id] = scores.get(image_id, 0.0) + share
    ordered = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
    ids = np.array([image_id for image_id, _ in ordered], np.int64)
    return ids, np.array([score for _, score in ordered], np.float64)
