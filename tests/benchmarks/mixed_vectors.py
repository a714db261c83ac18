"""Galleries of any size whose vectors lie as embeddings of real pictures do, for benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PARENTS = 3
_NOISE = 0.35
"""Length of what a mixture gets beside its parents' plane, as a share of its own; near that of a real embedding."""


class Mixture:
    """Mixtures of real embeddings of one class, with noise of the embeddings' own covariance, brought to unit length.

    embeddings: (m, d) float32, rows of unit length. labels: (m,). dimension: what the mixtures have; other than d, the
    embeddings are turned by random orthonormal directions first, or cut by them.
    """

    def __init__(self, embeddings: NDArray[np.float32], labels: NDArray[np.integer], dimension: int) -> None:
        given = embeddings.shape[1]
        if dimension != given:
            random = np.random.default_rng(7)
            directions = np.linalg.qr(random.standard_normal((max(given, dimension), min(given, dimension))))[0]
            embeddings = embeddings @ (directions.T if dimension > given else directions).astype(np.float32)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        self._embeddings = np.ascontiguousarray(embeddings, np.float32)
        self._labels = np.asarray(labels, np.int64)
        self._members = [np.flatnonzero(self._labels == label) for label in range(int(self._labels.max()) + 1)]
        residual = self._embeddings - self._embeddings.mean(0)
        _, lengths, axes = np.linalg.svd(residual, full_matrices=False)
        self._spread = (lengths / np.linalg.norm(lengths)).astype(np.float32)[:, None] * axes.astype(np.float32)

    def block(self, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vectors (count, d) of unit length and their classes (count,)."""
        random = np.random.default_rng(seed)
        labels = self._labels[random.integers(0, len(self._labels), count)]
        parents = np.empty((count, _PARENTS), np.int64)
        for label in np.unique(labels):
            rows = labels == label
            parents[rows] = random.choice(self._members[label], (int(rows.sum()), _PARENTS))
        shares = random.dirichlet(np.ones(_PARENTS), count).astype(np.float32)
        vectors = np.zeros((count, self._embeddings.shape[1]), np.float32)
        for at in range(_PARENTS):
            vectors += shares[:, at, None] * self._embeddings[parents[:, at]]
        noise = random.standard_normal((count, len(self._spread)), np.float32) @ self._spread
        vectors += _NOISE * noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors, labels
