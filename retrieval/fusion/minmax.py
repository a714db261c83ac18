"""Weighted sum of scores mapped to 0..1 (J. H. Lee, "Analyses of multiple evidence combination", SIGIR 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion.statistics import Statistics


@dataclass(frozen=True)
class MinMax:
    """Points (score - minimum) / (1 - minimum): 1 for equal vectors, 0 for the least similar of random pairs.

    The bounds are the collection's, not those of one result list, so a score means the same for every query; it is
    below 0 for an image less similar than all sampled pairs. An image without a vector in a space gets 0 points, as if
    it were the least similar.
    """

    name: str = "minmax"
    score_kind: str = "fused scores"
    summands: str = "scores scaled to 0..1"
    by_score: bool = True

    def points(self, share: float, scores: NDArray[np.float64], statistics: Statistics | None) -> NDArray[np.float64]:
        """Points of scores (q, m); see `retrieval.fusion.Method`."""
        assert statistics is not None
        scaled = (scores - statistics.minimum) / ((1.0 - statistics.minimum) or 1.0)
        return share * np.nan_to_num(scaled, nan=0.0)
