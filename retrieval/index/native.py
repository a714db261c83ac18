"""Nearest descriptors by LIRE's distances, every vector compared.

FAISS has none of the six distances, and sums in single precision, which breaks ties otherwise than LIRE. A
compiled scan of all vectors is exact by construction and takes 0.2 to 2.5 ms a query over 8,000 on one
core. A flat FAISS index over coordinates whose L1 or L2 is near the native distance takes 0.1 to 1.3 ms
before its candidates are proven complete and ranked again (`tests/benchmarks/bench_descriptors.py` prints
both), which is not worth a second copy of the vectors. Beyond 100,000 vectors it is: there
`retrieval.index.proposed` lets FAISS choose what is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.descriptors.native_distance import NativeDistance
from retrieval.index.protocol import Index

EXACT_UP_TO = 100_000
"""Gallery size up to which every vector is compared."""

_DISTANCES_AT_ONCE = 1 << 22
"""How many distances a search holds in memory: 32 MiB."""


class NativeIndex:
    """Compares every vector.

    vectors: (n, d) in the space's stored dtype. Raises ForeignVectorError where a value is none of the
    descriptor's.
    """

    description = "exact"

    def __init__(self, metric: NativeDistance, vectors: NDArray[Any]) -> None:
        self._metric = metric
        self.compact = metric.compact(vectors)

    def search(
        self, queries: NDArray[Any], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest rows of each query (q, d), exactly; see the `Index` protocol."""
        asked = self._metric.compact(queries)
        found = np.full((len(asked), k), np.inf)
        found_rows = np.full((len(asked), k), -1, dtype=np.int64)
        rows = np.arange(len(self.compact)) if allowed is None else np.flatnonzero(allowed)
        # Leaving out a few of the distances costs less than copying all other vectors together.
        copied = 2 * len(rows) < len(self.compact)
        gallery = self.compact[rows] if copied else self.compact
        step = max(1, _DISTANCES_AT_ONCE // max(1, len(gallery)))
        for start in range(0, len(asked), step):
            distances = self._metric.compact_distances(asked[start : start + step], gallery)
            if len(rows) < len(gallery):
                distances = distances[:, rows]
            for at, row in enumerate(distances, start):
                order = nearest(row, k)
                found[at, : len(order)] = row[order]
                found_rows[at, : len(order)] = rows[order]
        return found, found_rows

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search finds: all."""
        return 1.0


def nearest(distances: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Places of the k smallest of distances (n,), ascending; equal ones by place."""
    if k < len(distances):
        candidates = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1]) if k else np.arange(0)
    else:
        candidates = np.arange(len(distances))
    return candidates[np.argsort(distances[candidates], kind="stable")[:k]]


def native_index(
    metric: NativeDistance,
    vectors: NDArray[Any],
    ids: NDArray[np.int64],
    folder: Path | None = None,
    name: str = "",
) -> Index:
    """The index for a gallery of that size; the arguments are those of `ProposedIndex`."""
    if len(vectors) <= EXACT_UP_TO:
        return NativeIndex(metric, vectors)
    from retrieval.index.proposed import ProposedIndex

    return ProposedIndex(metric, vectors, ids, folder, name)
