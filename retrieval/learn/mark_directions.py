"""Directions of the components that tell the device's marks within a class, by iterative null-space projection.

A linear regression predicts the marks of images within their class; its directions are removed, and another one is
fitted to what is left (Ravfogel et al., ACL 2020). The unlearned share of a learned space without these directions
follows the device less, and classes as before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.whitening import Floats

ROUNDS = 10
"""Regressions at most. On the subset four leave no linear trace of the marks; neighbours follow them less after ten."""
_MOST = 1 / 4
"""Of the directions, that are removed after the first round, so that few components do not lose what they are for."""
_RIDGE = 1e-2
"""Of the mean variance of a component."""


def mark_directions(features: Floats, labels: NDArray[np.int64], kinds: NDArray[np.int64]) -> Floats:
    """Orthonormal directions (p, r) of features (n, p); labels and kinds of marks (n,), -1 where not known.

    r is 0 where no class has images with different marks, and at most p / 4 or what one regression gives.
    """
    known = (labels >= 0) & (kinds >= 0)
    features, labels, kinds = features[known], labels[known], kinds[known]
    size = features.shape[1]
    directions = np.empty((size, 0))
    marks = (kinds[:, None] == np.unique(kinds)).astype(np.float64)
    features = features.copy()
    for label in np.unique(labels):
        of_class = labels == label
        features[of_class] -= features[of_class].mean(axis=0)
        marks[of_class] -= marks[of_class].mean(axis=0)
    for _ in range(ROUNDS):
        rest = without(features, directions)
        weights = without(_regression(rest, marks).T, directions)
        values, found = np.linalg.svd(weights, full_matrices=False)[1:]
        found = found[values > 1e-8]
        count = directions.shape[1] + len(found)
        if not len(found) or (directions.shape[1] and count > _MOST * size):
            break
        directions = np.linalg.qr(np.concatenate([directions, found.T], axis=1))[0]
    return directions


def _regression(features: Floats, marks: Floats) -> Floats:
    """Weights (p, k) by which features (n, p) predict marks (n, k)."""
    scatter = features.T @ features
    ridge = max(_RIDGE * np.trace(scatter) / len(scatter), 1e-12)
    weights: Floats = np.linalg.solve(scatter + ridge * np.eye(len(scatter)), features.T @ marks)
    return weights


def without(features: Floats, directions: Floats) -> Floats:
    """Features (n, p) with nothing along orthonormal directions (p, r)."""
    out: Floats = features - (features @ directions) @ directions.T
    return out
