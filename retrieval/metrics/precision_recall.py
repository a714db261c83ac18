"""The precision-recall curve of each query, at the same recall levels for all so that curves can be averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Relevance


def interpolated_precision(relevance: Relevance, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest precision at any recall of at least each level, (q, levels); levels between 0 and 1, ascending.

    Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4 (the eleven-point
    average, at any number of levels). NaN where R = 0.
    """
    curves = np.full((len(relevance.counts), len(levels)), np.nan)
    precision = relevance.positions / relevance.ranks
    ends = np.cumsum(relevance.counts)
    for query, (end, count) in enumerate(zip(ends, relevance.counts, strict=True)):
        if count:
            best_from_here = np.maximum.accumulate(precision[end - count : end][::-1])[::-1]
            # The tolerance keeps level 0.3 of R = 10 at the third relevant image, though 0.3 * 10 > 3 in binary.
            needed = np.ceil(levels * count - 1e-9).astype(np.int64)
            curves[query] = best_from_here[np.maximum(needed, 1) - 1]
    return curves
