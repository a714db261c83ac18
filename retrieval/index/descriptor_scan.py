"""Exact search among descriptors by LIRE's distances: a compiled scan of every vector.

FAISS has none of the six distances, and sums in single precision, which breaks ties otherwise than LIRE. A
compiled scan of all vectors is exact by construction and takes 0.2 to 2.5 ms a query over 8,000 on one
core. A flat FAISS index over coordinates whose L1 or L2 is near the native distance takes 0.1 to 1.3 ms
before its candidates are proven complete and ranked again (`tests/benchmarks/bench_descriptors.py` prints
both), which is not worth a second copy of the vectors. Beyond 100,000 vectors it is: there
`retrieval.index.descriptor_ivf` lets FAISS choose what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from retrieval.cores import available_cores
from retrieval.filters import Selection, among
from retrieval.index.neighbours import empty_neighbours, put_nearest
from retrieval.index.protocol import BLOCK, EXACT, CompiledMetric, Metric, Neighbours, Rows

_DISTANCES_AT_ONCE = 1 << 22
"""How many distances each core has in memory: 32 MiB."""
_QUERIES = 64
"""Queries that one core compares at once."""


class DescriptorScan:
    """Compares every vector; all are in memory in the form that the kernel reads.

    rows: the stored vectors. ids: (n,) int64 ascending, the images that have one. Raises ForeignVectorError where a
    value is none of the descriptor's.
    """

    description = EXACT

    def __init__(self, metric: CompiledMetric, rows: Rows, ids: NDArray[np.int64]) -> None:
        self._metric = metric
        self._rows = rows
        self._changing = Lock()
        # Replaced as a whole, never changed in place: a search goes on with the one that it began with.
        self._state = _State(ids, _Growing(_compacted(metric, rows, ids)))

    def __len__(self) -> int:
        return len(self._state.ids) - len(self._state.removed)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The images in the index, ascending."""
        state = self._state
        return np.delete(state.ids, state.removed) if len(state.removed) else state.ids

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query (q, d), exactly; see the `Index` protocol."""
        state = self._state
        compact = self._metric.compact(queries)
        result = empty_neighbours(len(compact), k)
        gallery, ids, left_out = state.gallery, state.ids, state.removed
        if selection is not None and selection.included is not None:
            positions = state.positions(selection.ids)
            positions = positions[positions >= 0]
            # Leaving out a few of the distances costs less than copying all other vectors together.
            if 2 * len(positions) < len(ids):
                gallery, ids, left_out = gallery[positions], ids[positions], left_out[:0]
            else:
                left_out = np.delete(np.arange(len(ids)), positions)
        elif selection is not None and len(selection.excluded):
            left_out = np.union1d(left_out, state.positions(selection.excluded))
            left_out = left_out[left_out >= 0]

        def search(start: int) -> None:
            distances = self._metric.compact_distances(compact[start : start + step], gallery)
            distances[:, left_out] = np.inf
            for at, row in enumerate(distances, start):
                if without is not None:
                    row[np.searchsorted(ids, without[at][among(without[at], ids)])] = np.inf
                put_nearest(result, at, row, ids)

        step = min(max(1, _DISTANCES_AT_ONCE // max(1, len(ids))), _QUERIES)
        starts = range(0, len(compact), step)
        if len(starts) > 1:  # kernels run without the interpreter's lock
            with ThreadPoolExecutor(available_cores(), "scan") as pool:
                list(pool.map(search, starts))
        else:
            for start in starts:
                search(start)
        return result

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m), NaN where an image has no vector; see the `Index` protocol."""
        state = self._state
        result = np.full((len(queries), len(ids)), np.nan)
        positions = state.positions(ids)
        stored = positions >= 0
        if stored.any():
            gallery = state.gallery[positions[stored]]
            result[:, stored] = self._metric.compact_distances(self._metric.compact(queries), gallery)
        return result

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images; see the `Index` protocol. Raises ForeignVectorError."""
        if not len(ids):
            return
        order = np.argsort(ids)
        ids, compact = ids[order], self._metric.compact(vectors[order])
        with self._changing:
            state = self._state.without(ids)
            if len(state.ids) and ids[0] <= state.ids[-1]:  # an older image gets a vector
                remaining = np.delete(np.arange(len(state.ids)), state.removed)
                all_ids = np.concatenate([state.ids[remaining], ids])
                together = np.concatenate([state.gallery[remaining], compact])
                order = np.argsort(all_ids)
                self._state = _State(all_ids[order], _Growing(together[order]))
            else:
                grown = state.vectors.extended(len(state.ids), compact)
                self._state = _State(np.concatenate([state.ids, ids]), grown, state.removed)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; see the `Index` protocol."""
        with self._changing:
            self._state = self._state.without(np.unique(ids))

    def flush(self) -> None:
        """No-op: nothing is slow to build."""

    def copy(self) -> DescriptorScan:
        """An independent index that shares the vectors."""
        copied = DescriptorScan(self._metric, self._rows, self._state.ids[:0])
        copied._state = self._state
        return copied

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """1: every vector is compared."""
        return 1.0


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> DescriptorScan:
    """An index of the images `ids` (n,) ascending; stores nothing on disk."""
    return DescriptorScan(cast(CompiledMetric, metric), rows, ids)


def _compacted(metric: CompiledMetric, rows: Rows, ids: NDArray[np.int64]) -> NDArray[Any]:
    """Vectors of images (n,) as the kernel reads them; block by block, since making them takes several copies."""
    first = metric.compact(rows.take(ids[:BLOCK]))
    if len(ids) <= BLOCK:
        return first
    compact = np.empty((len(ids), *first.shape[1:]), first.dtype)
    compact[:BLOCK] = first
    for start in range(BLOCK, len(ids), BLOCK):
        compact[start : start + BLOCK] = metric.compact(rows.take(ids[start : start + BLOCK]))
    return compact


class _Growing:
    """Rows of memory with room behind them: those that are there never change, so that readers need no lock."""

    def __init__(self, array: NDArray[Any], used: int | None = None) -> None:
        self.array = array
        self._used = len(array) if used is None else used
        self._growing = Lock()

    def extended(self, count: int, rows: NDArray[Any]) -> _Growing:
        """The first `count` rows and these; in the same memory where there is room that nobody else has used."""
        with self._growing:
            needed = count + len(rows)
            if self._used == count and needed <= len(self.array):
                self.array[count:needed] = rows
                self._used = needed
                return self
        larger = np.empty((needed + needed // 8 + 64, *rows.shape[1:]), rows.dtype)
        larger[:count] = self.array[:count]
        larger[count:needed] = rows
        return _Growing(larger, needed)


@dataclass(frozen=True, eq=False)
class _State:
    """ids: (n,) ascending. vectors: whose first n rows are theirs. removed: positions that are no more, ascending."""

    ids: NDArray[np.int64]
    vectors: _Growing
    removed: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def gallery(self) -> NDArray[Any]:
        """The compact vectors, (n, c)."""
        return self.vectors.array[: len(self.ids)]

    def positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where ids (m,) stand, -1 for those that do not."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.int64)
        positions = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        missing = (self.ids[positions] != ids) | among(positions, self.removed)
        positions[missing] = -1
        return positions

    def without(self, ids: NDArray[np.int64]) -> _State:
        """The same without images (m,) ascending; copied together where more than a quarter is removed."""
        positions = self.positions(ids)
        removed = np.union1d(self.removed, positions[positions >= 0])
        if 4 * len(removed) <= len(self.ids):
            return _State(self.ids, self.vectors, removed)
        remaining = np.delete(np.arange(len(self.ids)), removed)
        return _State(self.ids[remaining], _Growing(self.gallery[remaining]))
