"""A space in two dimensions, by its own distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.index.protocol import Metric

LANDMARKS = 400


def map_of(vectors: NDArray[np.generic], metric: Metric, seed: int = 0) -> NDArray[np.float64]:
    """A place for each vector (n, d), (n, 2): landmark multidimensional scaling.

    Classical scaling of the distances between at most 400 seeded landmarks; every other image is placed by its
    distances to them. It needs no more than distances, so that every space is mapped by its native
    one. De Silva and Tenenbaum, Sparse multidimensional scaling using landmark points (2004).
    """
    n = len(vectors)
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:LANDMARKS])
    squared = np.asarray(metric.distances(vectors, vectors[chosen]), np.float64) ** 2
    between = squared[chosen]
    mean = between.mean(axis=0)
    centred = -0.5 * (between - mean - mean[:, None] + mean.mean())
    values, axes = np.linalg.eigh((centred + centred.T) / 2)
    values, axes = values[::-1][:2], axes[:, ::-1][:, :2]
    scale = np.where(values > 1e-12, np.sqrt(np.maximum(values, 1e-12)), np.inf)
    places: NDArray[np.float64] = -0.5 * (squared - mean) @ (axes / scale)
    # An axis has no direction of its own; fixing the sign keeps the map from flipping between machines.
    places *= np.where(places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])] < 0, -1, 1)
    return places if places.shape[1] == 2 else np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
