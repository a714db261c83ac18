"""Reciprocal rank: how soon the first relevant image is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Relevance


def reciprocal_rank(relevance: Relevance) -> NDArray[np.float64]:
    """1 / rank of the first relevant hit over the whole list, of each query, (q,); its mean is MRR.

    Voorhees, The TREC-8 Question Answering Track Report (1999).
    """
    return relevance.sums(np.where(relevance.positions == 1, 1 / relevance.ranks, 0))
