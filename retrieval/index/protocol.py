"""What a space's distance and a space's index must be able to do."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FILTER_COMPARES_UP_TO = 20_000
"""Rows allowed by a filter up to which they are all compared: among so few, what an index proposes loses recall."""
BLOCK = 16_384
"""Vectors that are worked on at once where those of a whole gallery would take too much memory."""


class Metric(Protocol):
    """How one space compares two vectors: its native distance, and a score to show for it."""

    @property
    def name(self) -> str:
        """The name that a space's recipe records, such as `cosine` or `lire-phog`."""
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


class Index(Protocol):
    """Nearest neighbours among the gallery vectors that it was built from, by the native distance."""

    @property
    def description(self) -> str:
        """What kind of index it is, in a few words; `exact` where every vector is compared."""
        ...

    def recall_at(self, k: int, sample: int = 100, seed: int = 0) -> float:
        """Share of the true k nearest that a search finds, measured on a random sample of the gallery's own vectors."""
        ...

    def search(
        self, queries: NDArray[np.generic], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The k nearest gallery rows of each query.

        queries (q, d); allowed (n,) bool restricts the answer. Returns distances (q, k) ascending and
        rows (q, k); equal distances are ordered by row; where fewer than k rows exist the rest is inf and -1.
        """
        ...
