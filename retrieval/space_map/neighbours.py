"""Native distances between all images of a space, in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retrieval.index.protocol import CompiledMetric, Metric

BLOCK = 512


def distance_blocks(
    vectors: NDArray[np.generic], metric: Metric, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """(rows (b,), distances (b, n) float64) for all `rows` of vectors (n, d), with inf to the row itself.

    Cosines are multiplied in single precision: for a drawing BLAS is near enough, and a hundred times as fast.
    """
    compact = metric.compact(vectors) if isinstance(metric, CompiledMetric) else vectors
    single = np.asarray(vectors, np.float32)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        if metric.name == "cosine":
            distances = np.maximum(1 - np.asarray(single[block] @ single.T, np.float64), 0)
        elif isinstance(metric, CompiledMetric):
            distances = np.array(metric.compact_distances(compact[block], compact), np.float64)
        else:
            distances = np.array(metric.distances(vectors[block], vectors), np.float64)
        distances[np.arange(len(block)), block] = np.inf
        yield block, distances


def nearest_images(
    vectors: NDArray[np.generic], metric: Metric, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (n, k) of the k nearest others of each of n vectors, nearest first, and their distances (n, k)."""
    n = len(vectors)
    nearest, apart = np.empty((n, k), np.int64), np.empty((n, k))
    for block, distances in distance_blocks(vectors, metric, np.arange(n)):
        some = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)  # ties by row
        found = np.take_along_axis(distances, some, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        nearest[block] = np.take_along_axis(some, order, axis=1)
        apart[block] = np.take_along_axis(found, order, axis=1)
    return nearest, apart
