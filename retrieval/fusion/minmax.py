"""Weighted sum of scores mapped to 0..1 (J. H. Lee, "Analyses of multiple evidence combination", SIGIR 1997)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion.statistics import Statistics


@dataclass(frozen=True)
class MinMax:
    """Points (score - minimum) / (maximum - minimum): 0 for the least similar of random pairs, 1 for equal vectors, or
    for the most similar of random pairs of a text and an image.

    The bounds are the collection's, not those of one result list, so a score means the same for every query; it is
    below 0 for an image less similar than all sampled pairs. An image without a vector in a space gets 0 points, as if
    it were the least similar.
    """

    name: str = "minmax"
    score_kind: str = "fused scores"
    summands: str = "scores scaled to 0..1"
    by_score: bool = True

    def points(
        self, share: float, scores: NDArray[np.float64], statistics: Sequence[Statistics]
    ) -> NDArray[np.float64]:
        """Points of scores (q, m); see `retrieval.fusion.Method`."""
        assert len(statistics) in (1, len(scores))
        bounds = [(each.minimum, (each.maximum - each.minimum) or 1.0) for each in statistics]
        least, ranges = np.array(bounds).T[:, :, None]
        scaled = (scores - least) / ranges
        points: NDArray[np.float64] = share * np.nan_to_num(scaled, nan=0.0)
        return points
