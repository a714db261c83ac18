"""Interfaces of metrics, stored vectors and indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.filters import Selection

BLOCK = 16_384
"""Vectors that are read at once where those of a whole gallery would take too much memory."""

EXACT = "exact"
"""The description of an index that compares every vector."""

Neighbours = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Distances (q, k) float64 ascending and image ids (q, k) int64."""


class Metric(Protocol):
    """How one space compares two vectors: its native distance, and a score to show for it."""

    @property
    def name(self) -> str:
        """The name that a space's definition records, such as `cosine` or `lire-phog`."""
        ...

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.floating]:
        """Distances of every query to every gallery vector.

        queries (q, d), gallery (n, d) in the space's stored dtype -> (q, n); one pair gives the same
        number whatever else is in the call.
        """
        ...

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.floating]:
        """Similarity for distances of any shape: larger is more similar, 1 for equal vectors, never increasing."""
        ...


@runtime_checkable
class CompiledMetric(Metric, Protocol):
    """A metric with a compiled kernel on a compact form of the vectors, and coordinates that FAISS can index."""

    proposes_by: Any
    """`L1` or `L2`: the distance of candidate coordinates that is near the native one."""

    def compact(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Vectors (n, d) as stored -> (n, c) as the kernel reads them."""
        ...

    def compact_distances(self, queries: NDArray[Any], gallery: NDArray[Any]) -> NDArray[np.float64]:
        """Native distances of compact vectors: (q, c), (n, c) -> (q, n)."""
        ...

    def candidate_coordinates(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """Vectors (n, d) as stored -> (n, d') whose neighbours by `proposes_by` are good candidates."""
        ...


class Rows(Protocol):
    """The stored vectors of a space, by image id; memory-mapped where they lie in a file."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    def take(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """Vectors (m, d) of image ids (m,); a view, not a copy, where the ids are consecutive and ascending."""
        ...

    def mapped(self, ids: NDArray[np.int64]) -> NDArray[Any] | None:
        """The C-contiguous array whose row numbers are image ids, where one has all of ids (m,) ascending."""
        ...


class Index(Protocol):
    """Nearest neighbours among the vectors of one space, by image id. Safe to share between threads.

    A search sees the index before or after a concurrent `add`, `remove` or `flush`, never in between.
    """

    @property
    def description(self) -> str:
        """What kind of index it is, in a few words; EXACT where every vector is compared."""
        ...

    def __len__(self) -> int:
        """How many vectors can be returned."""
        ...

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        selection: Selection | None = None,
        without: Sequence[NDArray[np.int64]] | None = None,
    ) -> Neighbours:
        """The k nearest images of each query.

        queries: (q, d). selection: the images that may be returned, for all queries. without: for each query the few
        further ids (ascending) that it leaves out, such as the query image and its near duplicates.

        Returns distances (q, k) float64 ascending, and ids (q, k) int64, equal distances ordered by id; where fewer
        than k images exist, the rest is inf and -1.
        """
        ...

    def distances(self, queries: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distances (q, m) of queries (q, d) to images (m,); NaN where an image has no vector in this index."""
        ...

    def add(self, ids: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Add images (m,) and their vectors (m, d), which replace those of ids that are present.

        The rows that the index was built on must have these vectors already.
        """
        ...

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove images; ids that are not in the index are ignored."""
        ...

    def flush(self) -> None:
        """Rebuild what is slow to build where it is outdated, and store it on disk."""
        ...

    def copy(self) -> Index:
        """An index of the same vectors that later changes of this one do not reach; shares memory, takes microseconds.

        A searcher that must not see a write keeps the original, and the next searcher gets a changed copy.
        """
        ...

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search returns, for a random sample of the index's own vectors.

        A hit as near as the true k-th counts as correct. The vector itself is left out.
        """
        ...


class Backend(Protocol):
    """What the module of a backend provides."""

    def build(self, metric: Metric, rows: Rows, ids: NDArray[np.int64], folder: Path | None) -> Index:
        """An index of the images `ids` (n,) ascending; what is slow to build is stored in a folder."""
        ...


class StoredBackend(Backend, Protocol):
    """What the module of a backend provides that stores an index on disk, as INDEX_FILE."""

    def matches(self, file: Path, metric: Metric, rows: Rows, ids: NDArray[np.int64]) -> bool:
        """Whether an undamaged file holds the stored vectors of images `ids` (n,), as far as it holds vectors whole."""
        ...
