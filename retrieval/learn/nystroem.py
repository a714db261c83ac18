"""A radial kernel by Nyström's approximation, then a discriminant (Williams and Seeger, NIPS 2000)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn import discriminant
from retrieval.learn.whitening import Arrays, Floats, unit

LANDMARKS = 700
_APART = 1e-12
"""Squared distance of unit vectors above what rounding leaves of equal ones."""


def fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    """Landmarks (l, p) drawn by seed, the root of their inverse kernel (l, l), and a discriminant."""
    directions = unit(features)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(directions))[:LANDMARKS])
    landmarks = directions[chosen]
    # The median heuristic: a distance that is usual in the data is the kernel's width. Equal vectors have none.
    squared = 2 - 2 * landmarks @ landmarks.T
    apart = squared[np.triu_indices(len(squared), 1)]
    apart = apart[apart > _APART]
    gamma = 1 / np.median(apart) if len(apart) else 1.0
    values, vectors = np.linalg.eigh(np.exp(-gamma * np.maximum(squared, 0)))
    positive = values > 1e-6 * values.max()
    root = vectors[:, positive] / np.sqrt(values[positive])
    arrays = {
        "landmarks": landmarks.astype(np.float32),
        "gamma": np.array(gamma, np.float32),
        "root": root.astype(np.float32),
    }
    mapped = _mapped(arrays, features)
    return arrays | discriminant.fit(mapped, labels, seed)


def apply(arrays: Arrays, features: Floats) -> Floats:
    """Features (n, p) -> (n, C - 1)."""
    return discriminant.apply(arrays, _mapped(arrays, features))


def _mapped(arrays: Arrays, features: Floats) -> Floats:
    squared = 2 - 2 * unit(features) @ arrays["landmarks"].astype(np.float64).T
    mapped: Floats = np.exp(-arrays["gamma"].astype(np.float64) * np.maximum(squared, 0)) @ arrays["root"]
    return mapped
