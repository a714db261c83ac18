"""Galleries and the plainest search of them, which every backend is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


class BruteForce:
    """Sorts every distance, then by id; what an index does with images, this does with a dict."""

    def __init__(self, metric: Any, ids: Array, vectors: Array) -> None:
        self.metric = metric
        self.vectors = dict(zip(ids.tolist(), vectors, strict=True))

    def search(self, queries: Array, k: int, allowed: set[int] | None = None, without: Any = None) -> tuple[Any, Any]:
        """The `Index` protocol's result as lists; allowed: ids that a selection has."""
        distances, found = [], []
        for at, query in enumerate(queries):
            left = [i for i in sorted(self.vectors) if allowed is None or i in allowed]
            left = [i for i in left if without is None or i not in without[at].tolist()]
            pairs = [(float(self.metric.distances(query[None], self.vectors[i][None])[0, 0]), i) for i in left]
            pairs = sorted(pairs)[:k]
            missing = k - len(pairs)
            distances.append([max(0.0, distance) for distance, _ in pairs] + [np.inf] * missing)
            found.append([i for _, i in pairs] + [-1] * missing)
        return distances, found


@pytest.fixture
def brute_force() -> type[BruteForce]:
    return BruteForce
