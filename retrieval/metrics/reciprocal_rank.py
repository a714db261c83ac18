"""Reciprocal rank: how soon the first relevant image is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.ranks import RelevantRanks


def reciprocal_rank(ranks: RelevantRanks) -> NDArray[np.float64]:
    """1 / rank of the first relevant hit over the whole list, of each query, (q,); its mean is MRR.

    Voorhees, The TREC-8 Question Answering Track Report (1999).
    """
    return ranks.sums(np.where(ranks.positions == 1, 1 / ranks.ranks, 0))
