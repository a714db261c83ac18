"""Average precision: precision at each relevant hit, averaged over the relevant images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.ranks import RelevantRanks


def average_precision(ranks: RelevantRanks) -> NDArray[np.float64]:
    """AP = sum of precision@i * rel(i) over the whole list, / R, of each query, (q,); its mean is mAP.

    Buckley and Voorhees, Retrieval System Evaluation, in TREC (2005), section 3.2. Not interpolated: scikit-learn's
    `average_precision_score` is the same number where no two scores are equal.
    """
    return ranks.sums(ranks.positions / ranks.ranks) / ranks.relevant_or_nan


def average_precision_at(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """AP@k = sum of precision@i * rel(i) for i up to k, / min(R, k), of each query, (q,).

    The divisor makes a perfect first k score 1 even where R > k; ranx and trec_eval divide by R instead.
    """
    up_to_k = np.where(ranks.ranks <= k, ranks.positions / ranks.ranks, 0)
    return ranks.sums(up_to_k) / np.minimum(ranks.relevant_or_nan, k)


def map_at_r(ranks: RelevantRanks) -> NDArray[np.float64]:
    """MAP@R = sum of precision@i * rel(i) for i up to R, / R, of each query, (q,).

    Musgrave, Belongie and Lim, A Metric Learning Reality Check (ECCV 2020), section 3.2.
    """
    up_to_r = np.where(ranks.ranks <= np.repeat(ranks.relevant, ranks.relevant), ranks.positions / ranks.ranks, 0)
    return ranks.sums(up_to_r) / ranks.relevant_or_nan
