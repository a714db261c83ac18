"""Average precision: precision at each relevant hit, averaged over the relevant images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, Relevance, as_cutoff


def average_precision(relevance: Relevance) -> NDArray[np.float64]:
    """AP = sum of precision@i * rel(i) over the whole list, / R, of each query, (q,); its mean is mAP.

    Buckley and Voorhees, Retrieval System Evaluation, in TREC (2005), section 3.2. Not interpolated: scikit-learn's
    `average_precision_score` is the same number where no two scores are equal.
    """
    return relevance.sums(relevance.positions / relevance.ranks) / relevance.counts_or_nan


def average_precision_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """AP@k = sum of precision@i * rel(i) for i up to k, / min(R, k), of each query, (q,).

    The divisor makes a perfect first k score 1 even where R > k; ranx and trec_eval divide by R instead.
    """
    k = as_cutoff(k)
    up_to_k = np.where(relevance.ranks <= k, relevance.positions / relevance.ranks, 0)
    return relevance.sums(up_to_k) / np.minimum(relevance.counts_or_nan, k)


def map_at_r(relevance: Relevance) -> NDArray[np.float64]:
    """MAP@R = sum of precision@i * rel(i) for i up to R, / R, of each query, (q,).

    Musgrave, Belongie and Lim, A Metric Learning Reality Check (ECCV 2020), section 3.2.
    """
    r = np.repeat(relevance.counts, relevance.counts)
    up_to_r = np.where(relevance.ranks <= r, relevance.positions / relevance.ranks, 0)
    return relevance.sums(up_to_r) / relevance.counts_or_nan
