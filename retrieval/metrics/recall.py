"""Recall: how much of what is relevant is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, Relevance, as_cutoff


def recall_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """recall@k = h(k) / R of each query, (q,).

    Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.3. What much of the
    metric-learning literature prints as "Recall@k" is `hit_at`.
    """
    return relevance.hits(as_cutoff(k)) / relevance.counts_or_nan


def recall_ceiling_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """The largest recall@k that a perfect ranking can reach, min(k, R) / R, (q,): 0.01 for k = 10 and R = 1,000."""
    return np.minimum(as_cutoff(k), relevance.counts) / relevance.counts_or_nan
