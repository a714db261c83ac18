"""Cosine distance between embeddings of unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1024


class Cosine:
    """1 - cos; the score is the cosine itself, between -1 and 1."""

    name = "cosine"

    def distances(self, queries: NDArray[np.generic], gallery: NDArray[np.generic]) -> NDArray[np.float64]:
        """Distances (q, n) of unit vectors (q, d) and (n, d) float32, summed in double precision.

        `einsum` without BLAS adds each pair in one fixed order, so a pair's distance never depends on its company.
        """
        left = np.asarray(queries, np.float64)
        out = np.empty((len(left), len(gallery)))
        for start in range(0, len(gallery), _BLOCK):
            block = np.asarray(gallery[start : start + _BLOCK], np.float64)
            out[:, start : start + _BLOCK] = 1 - np.einsum("qd,nd->qn", left, block)
        return out

    def pair_distances(self, left: NDArray[np.generic], right: NDArray[np.generic]) -> NDArray[np.float64]:
        """Distances (p,) of pairs of unit vectors (p, d) and (p, d); the very numbers that `distances` gives."""
        products = np.einsum("pd,pd->p", np.asarray(left, np.float64), np.asarray(right, np.float64))
        return np.asarray(1 - products, np.float64)

    def scores(self, distances: NDArray[np.floating]) -> NDArray[np.floating]:
        """Cosine similarity."""
        return 1 - distances
