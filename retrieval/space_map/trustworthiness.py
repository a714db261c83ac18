"""How far a map can be trusted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.index.protocol import Metric
from retrieval.space_map.neighbours import distance_blocks

NEIGHBOURS = 10
SAMPLE = 1000
"""Images whose neighbours are compared; of more, a seeded sample is drawn."""


def trustworthiness(
    places: NDArray[np.floating], vectors: NDArray[np.generic], metric: Metric, k: int = NEIGHBOURS, seed: int = 0
) -> float | None:
    """T(k) = 1 - 2 / (m k (2n - 3k - 1)) * sum of max(0, r(i, j) - k) over images i and their k nearest j on the map.

    r(i, j): the rank of j among the n - 1 others of i in the space, equal distances by row; m: images in the sum.
    1 where no image is drawn beside one that is not near it. None for n <= 2k, where it has no scale.
    Venna and Kaski, Neighborhood preservation in nonlinear projection methods (2001).
    """
    n = len(vectors)
    if n <= 2 * k:
        return None
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:SAMPLE])
    intruders = 0.0
    for block, distances in distance_blocks(vectors, metric, rows):
        apart = ((places[block, None].astype(np.float64) - places[None]) ** 2).sum(axis=2)
        apart[np.arange(len(block)), block] = np.inf
        drawn = np.argsort(apart, axis=1, kind="stable")[:, :k]
        ranks = np.empty(distances.shape, np.int64)
        order = np.argsort(distances, axis=1, kind="stable")
        np.put_along_axis(ranks, order, np.arange(1, n + 1)[None], axis=1)
        intruders += float(np.maximum(np.take_along_axis(ranks, drawn, axis=1) - k, 0).sum())
    return 1 - 2 / (len(rows) * k * (2 * n - 3 * k - 1)) * intruders
