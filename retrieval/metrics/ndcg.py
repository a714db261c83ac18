"""Normalised discounted cumulative gain: relevant hits count less the later they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.ranks import RelevantRanks


def ndcg_at(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """nDCG@k = sum of rel(i) / log2(i + 1) for i up to k, over the same sum of a list with min(R, k) relevant first.

    Binary gain; of each query, (q,). Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques
    (TOIS 2002), with the discount log2(i + 1) of Burges et al. (ICML 2005) that is now usual.
    """
    gains = np.where(ranks.ranks <= k, 1 / np.log2(ranks.ranks + 1.0), 0)
    depth = min(k, int(ranks.relevant.max(initial=0)))
    ideal: NDArray[np.float64] = np.concatenate([[np.nan], np.cumsum(1 / np.log2(np.arange(2, depth + 2)))])
    at_best = ideal[np.minimum(ranks.relevant, k)]
    return ranks.sums(gains) / at_best
