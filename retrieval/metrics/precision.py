"""Precision: how much of what is shown is relevant."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, Relevance, as_cutoff


def precision_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """precision@k = h(k) / k of each query, (q,).

    k stays the denominator when fewer than k hits exist.
    Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4.
    """
    k = as_cutoff(k)
    return relevance.hits(k) / k
