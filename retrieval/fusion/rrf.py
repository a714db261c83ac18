"""Reciprocal rank fusion (G. V. Cormack, C. L. A. Clarke and S. Buettcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.fusion.statistics import Statistics

CONSTANT = 60
"""The paper's; it keeps the first ranks of one list from deciding alone."""


@dataclass(frozen=True)
class ReciprocalRank:
    """Points (C + 1) / (C + rank), C = 60: an image that is first in every list scores 1.

    An image that a list lacks, or has beyond the depth that is fused, gets nothing from it, so it ranks below an image
    with the same ranks in the other lists.
    """

    name: str = "rrf"
    score_kind: str = "fused ranks"
    summands: str = "reciprocal ranks"
    by_score: bool = False

    def points(
        self, share: float, scores: NDArray[np.float64], statistics: Sequence[Statistics]
    ) -> NDArray[np.float64]:
        """Points of the ranks 1 to m, (m,); see `retrieval.fusion.Method`."""
        points: NDArray[np.float64] = share * (CONSTANT + 1) / (CONSTANT + np.arange(1, scores.shape[1] + 1))
        return points
