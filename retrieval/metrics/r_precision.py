"""R-precision: precision where a perfect ranking would have shown everything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Relevance


def r_precision(relevance: Relevance) -> NDArray[np.float64]:
    """R-precision = h(R) / R of each query, (q,); precision and recall are equal there.

    Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4.
    """
    return relevance.hits(relevance.counts) / relevance.counts_or_nan
