"""Hit rate: whether anything relevant is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.relevance import Cutoff, Relevance, as_cutoff


def hit_at(relevance: Relevance, k: Cutoff) -> NDArray[np.float64]:
    """hit@k = 1 if h(k) > 0, else 0, of each query, (q,).

    Papers on metric learning print it as "Recall@k" (Jégou, Douze and Schmid, Product quantization for nearest
    neighbor search, PAMI 2011, section V); it is not the recall of information retrieval.
    """
    hits = relevance.hits(as_cutoff(k))
    return np.where(np.isnan(hits), np.nan, hits > 0)
