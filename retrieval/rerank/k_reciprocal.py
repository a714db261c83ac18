"""Re-ranking by k-reciprocal encoding (Zhong, Zheng, Cao and Li, CVPR 2017, sections 3.2 to 3.5).

The Jaccard distance of two images' sets of mutual neighbours corrects their cosine distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.rerank.products import products

Floats = NDArray[np.float64]


class KReciprocal:
    """k1: neighbours that must be mutual; k2: neighbours whose encodings are averaged; share: of the first distance."""

    name = "k-reciprocal"

    def __init__(self, k1: int = 20, k2: int = 6, share: float = 0.3) -> None:
        self.k1, self.k2, self.share = k1, k2, share

    def scores(self, query: Floats, candidates: Floats) -> Floats:
        """One less the mixed distance, (m,), of candidates (m, d) to a query (d,)."""
        vectors = np.concatenate([query[None], candidates])
        distances = np.maximum(2 - 2 * products(vectors, vectors), 0)  # squared Euclidean, as in the paper
        np.fill_diagonal(distances, -1)  # each image is its own first neighbour
        distances_of = distances / np.maximum(distances.max(axis=1, keepdims=True), 1e-12)
        k1 = min(self.k1, len(candidates))
        order = np.argsort(distances, axis=1, kind="stable")[:, : k1 + 1]
        encoded = _encoded(np.maximum(distances_of, 0), order, k1)
        k2 = min(self.k2, order.shape[1])
        if k2 > 1:
            encoded = encoded[order[:, :k2]].mean(axis=1)
        shared = np.minimum(encoded[0][None], encoded).sum(axis=1)
        jaccard = 1 - shared / np.maximum(2 - shared, 1e-12)  # encodings sum to 1
        mixed = (1 - self.share) * jaccard + self.share * np.maximum(distances_of[0], 0)
        return np.asarray(1 - mixed[1:], np.float64)


def _encoded(distances: Floats, order: NDArray[np.int64], k1: int) -> Floats:
    """Each image's encoding, (n, n): weights of its expanded mutual neighbours, summing up to 1."""
    mutual = _mutual(order, k1)
    half = _mutual(order, max(1, round(k1 / 2)))
    sizes = half.sum(axis=1)
    overlap = mutual.astype(np.float32) @ half.T.astype(np.float32)  # of an image's set and a neighbour's smaller set
    # A neighbour's set joins where two thirds of it are in the image's own (equation 5).
    joins = mutual & (overlap > 2 / 3 * sizes[None])
    expanded = mutual | (joins.astype(np.float32) @ half.astype(np.float32) > 0)
    weights = np.where(expanded, np.exp(-distances), 0)
    normal: Floats = weights / weights.sum(axis=1, keepdims=True)
    return normal


def _mutual(order: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Which images are among each other's first k neighbours, (n, n); each is its own."""
    near = np.zeros((len(order), len(order)), bool)
    np.put_along_axis(near, order[:, : k + 1], True, axis=1)
    return near & near.T
