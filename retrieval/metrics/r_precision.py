"""R-precision: precision where a perfect ranking would have shown everything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.ranks import RelevantRanks


def r_precision(ranks: RelevantRanks) -> NDArray[np.float64]:
    """R-precision = h(R) / R of each query, (q,); precision and recall are equal there.

    Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4.
    """
    return ranks.found(ranks.relevant) / ranks.relevant_or_nan
