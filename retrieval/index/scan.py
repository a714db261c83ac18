"""Exact search by any metric: every vector is read from the stored rows and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index.neighbours import measured_distances, scan, selected, with_ids, without_ids
from retrieval.index.protocol import EXACT, Metric, Neighbours, Rows


class ScanIndex:
    """Compares every vector by the metric; only ids are in memory.

    rows: the stored vectors. ids: (n,) int64 ascending, the images that have one.
    """

    description = EXACT

    def __init__(self, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> None:
        self._metric = metric
        self._rows = rows
        self._ids = ids  # never changed in place: a search goes on with those that it began with
        self._changing = Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query (q, d); see the `Index` protocol."""
        distances, ids = scan(self._metric, self._rows, selected(self._ids, selection), queries, k, without)
        return np.maximum(distances, 0), ids

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        return measured_distances(self._metric, self._rows, self._ids, queries, ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images whose vectors the rows have; see the `Index` protocol."""
        with self._changing:
            self._ids = with_ids(self._ids, ids)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            self._ids = without_ids(self._ids, np.unique(ids))

    def flush(self) -> None:
        """No-op: nothing is slow to build."""

    def copy(self) -> ScanIndex:
        """An independent index of the same images."""
        return ScanIndex(self._metric, self._rows, self._ids)

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """1: every vector is compared."""
        return 1.0


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> ScanIndex:
    """An index of the images `ids` (n,) ascending; stores nothing on disk."""
    return ScanIndex(metric, rows, ids)
