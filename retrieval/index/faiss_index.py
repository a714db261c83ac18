"""Approximate search among many unit vectors: by a graph, or by an inverted file where a graph is too large."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection
from retrieval.index import approximate
from retrieval.index.approximate import COMPARE_UP_TO, ApproximateIndex, State, sample_of
from retrieval.index.cosine import Cosine
from retrieval.index.cosine_batch import PAYS_FROM, search_many
from retrieval.index.int8_scan import Int8Index
from retrieval.index.neighbours import merged
from retrieval.index.protocol import Index, Metric, Neighbours, Rows

HNSW_UP_TO = 300_000
"""Beyond this, a graph takes too much memory and time to build."""
_SHORT = 32
"""Dimension below which an inverted file codes each value."""
_TRAINING = 200_000
"""Vectors that an inverted file is trained on."""
_ADDED_AT_ONCE = 65_536


class FaissIndex(ApproximateIndex):
    """Nearest unit vectors by cosine among those that FAISS proposes.

    rows: the stored vectors, float32 of unit length. hnsw_up_to: gallery size up to which FAISS builds a graph
    (Y. Malkov and D. Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
    Small World graphs", 2016). See `ApproximateIndex` for the rest.
    """

    _probed_parts = (256, 128, 64, 32, 16, 8)

    def __init__(
        self,
        rows: Rows,
        ids: NDArray[np.int64],
        folder: Path | None = None,
        *,
        hnsw_up_to: int = HNSW_UP_TO,
        compare_up_to: int = COMPARE_UP_TO,
    ) -> None:
        self._hnsw_up_to = hnsw_up_to
        super().__init__(Cosine(), rows, ids, folder, compare_up_to)

    @property
    def description(self) -> str:
        """FAISS's name of the index."""
        return factory_string(len(self._state.labels), self._rows.dimension, self._hnsw_up_to)

    def _file_name(self, count: int) -> str:
        return f"{factory_string(count, self._rows.dimension, self._hnsw_up_to)}.faiss"

    def _build(self, ids: NDArray[np.int64]) -> Any:
        name = factory_string(len(ids), self._rows.dimension, self._hnsw_up_to)
        index = faiss.index_factory(_padded(self._rows.dimension), name, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(self._coordinates(self._rows.take(sample_of(ids, _TRAINING, seed=0))))
        labelled = faiss.IndexIDMap(index)
        for start in range(0, len(ids), _ADDED_AT_ONCE):
            block = ids[start : start + _ADDED_AT_ONCE]
            labelled.add_with_ids(self._coordinates(self._rows.take(block)), block)
        return labelled

    def _is_usable(self, proposing: Any) -> bool:
        return isinstance(proposing, faiss.IndexIDMap) and proposing.d == _padded(self._rows.dimension)

    def _exact(self, ids: NDArray[np.int64], recent: NDArray[np.int64]) -> Index:
        return Int8Index(self._rows, recent)

    def _coordinates(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        return _coordinates(vectors)

    def _compare(
        self,
        state: State,
        queries: NDArray[Any],
        k: int,
        ids: NDArray[np.int64],
        without: Sequence[NDArray[np.int64]] | None,
    ) -> Neighbours:
        if len(queries) < PAYS_FROM:
            return super()._compare(state, queries, k, ids, without)
        return search_many(self._rows, ids, queries, k, without)

    def _candidates(self, k: int, count: int) -> int:
        return 8 * k + 256  # four-bit codes order coarsely

    def _rank(
        self,
        state: State,
        query: NDArray[Any],
        k: int,
        proposed: NDArray[np.int64],
        selection: Selection | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        distances = self._metric.distances(query, self._rows.take(proposed))[0]
        recent = state.exact.search(query, k, selection, [excluded])
        return merged(np.asarray(distances, np.float64), proposed, recent[0][0], recent[1][0])


def factory_string(count: int, dimension: int, hnsw_up_to: int = HNSW_UP_TO) -> str:
    """FAISS's name of the index of a gallery of so many vectors of a length.

    An inverted file holds four-bit codes of parts of a vector (product quantisation), or of short vectors eight-bit
    codes of each value, since a few four-bit codes would hardly order candidates.
    """
    if count <= hnsw_up_to:
        return "HNSW32"
    lists = 1 << int(np.log2(4 * np.sqrt(count)))
    return f"IVF{lists},PQ{_parts(dimension)}x4fs" if dimension >= _SHORT else f"IVF{lists},SQ8"


def _parts(dimension: int) -> int:
    """How many parts a vector is quantised in."""
    return min(128, dimension // 2)


def _padded(dimension: int) -> int:
    """The length of a vector that zeros were appended to, so that its parts are equally long; products stay."""
    if dimension < _SHORT:
        return dimension
    parts = _parts(dimension)
    return parts * -(-dimension // parts)


def _coordinates(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors (n, d) padded with zeros, C-contiguous."""
    count, dimension = vectors.shape
    if _padded(dimension) == dimension:
        return np.ascontiguousarray(vectors, np.float32)
    coordinates = np.zeros((count, _padded(dimension)), np.float32)
    coordinates[:, :dimension] = vectors
    return coordinates


def build(metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> FaissIndex:
    """An index of the images `ids` (n,) ascending."""
    return FaissIndex(rows, ids, folder)


def file_name(count: int, dimension: int) -> str:
    """The file of the index of so many vectors of a length."""
    return f"{factory_string(count, dimension)}.faiss"


def matches(file: Path, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> bool:
    """Whether a file holds the vectors of images `ids` (n,); see `StoredBackend`."""
    return approximate.matches(file, ids, lambda chosen: _coordinates(rows.take(chosen)))
