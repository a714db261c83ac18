"""Normalised discounted cumulative gain: relevant hits count less the later they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, Relevance, as_cutoff


def ndcg_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """nDCG@k = sum of rel(i) / log2(i + 1) for i up to k, over the same sum of a list with min(R, k) relevant first.

    Binary gain; of each query, (q,). Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques
    (TOIS 2002), with the discount log2(i + 1) of Burges et al. (ICML 2005) that is now usual.
    """
    k = as_cutoff(k)
    gains = np.where(relevance.ranks <= k, 1 / np.log2(relevance.ranks + 1.0), 0)
    depth = min(k, int(relevance.counts.max(initial=0)))
    ideal: NDArray[np.float64] = np.concatenate([[np.nan], np.cumsum(1 / np.log2(np.arange(2, depth + 2)))])
    at_best = ideal[np.minimum(relevance.counts, k)]
    return relevance.sums(gains) / at_best
