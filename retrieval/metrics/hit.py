"""Hit rate: whether anything relevant is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.metrics.ranks import RelevantRanks


def hit_at(ranks: RelevantRanks, k: int) -> NDArray[np.float64]:
    """hit@k = 1 if h(k) > 0, else 0, of each query, (q,).

    Papers on metric learning print it as "Recall@k" (Jégou, Douze and Schmid, Product quantization for nearest
    neighbor search, PAMI 2011, section V); it is not the recall of information retrieval.
    """
    found = ranks.found(k)
    return np.where(np.isnan(found), np.nan, found > 0)
