"""Weighted sum of standardised scores (M. Montague and J. A. Aslam, "Relevance score normalization", CIKM 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion.statistics import Statistics


@dataclass(frozen=True)
class ZScore:
    """Points (score - mean) / standard deviation, both over random pairs of the collection's images in the space.

    So a score of 2 means two standard deviations more similar than two images taken at random. An image without a
    vector in a space counts as exactly as similar there as a random one: 0 points.
    """

    name: str = "zscore"
    score_kind: str = "fused scores"
    summands: str = "standardised scores"
    by_score: bool = True

    def points(
        self, share: float, scores: NDArray[np.float64], statistics: Sequence[Statistics]
    ) -> NDArray[np.float64]:
        """Points of scores (q, m); see `retrieval.fusion.Method`."""
        assert len(statistics) in (1, len(scores))
        means, deviations = np.array([(each.mean, each.deviation or 1.0) for each in statistics]).T[:, :, None]
        standardised = (scores - means) / deviations
        points: NDArray[np.float64] = share * np.nan_to_num(standardised, nan=0.0)
        return points
