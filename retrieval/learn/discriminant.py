"""Fisher's linear discriminant analysis with a shrunk within-class covariance (Friedman, JASA 84, 1989)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn.whitening import Arrays, Floats

SHRINKAGE = 0.1
"""Share of the covariance that is replaced by its mean variance in all directions."""


def fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    """Mean (p,) and directions (p, C - 1) of features (n, p), every class of the same weight.

    Deterministic: `seed` is not used.
    """
    return fisher(features, labels)


def fisher(features: Floats, labels: NDArray[np.int64], power: float = 0.0) -> dict[str, NDArray[np.float32]]:
    """The same, classes of n images weighing n**power in the within-class covariance, and in nothing else."""
    whiten, between, mean = _scatter(features, labels, power=power)
    values, directions = np.linalg.eigh(whiten.T @ between @ whiten)
    count = min(len(np.unique(labels)) - 1, features.shape[1])
    matrix = whiten @ directions[:, np.argsort(-values, kind="stable")[:count]]
    return {"mean": mean.astype(np.float32), "matrix": matrix.astype(np.float32)}


def apply(arrays: Arrays, features: Floats) -> Floats:
    """Features (n, p) -> (n, C - 1)."""
    projected: Floats = (features - arrays["mean"]) @ arrays["matrix"].astype(np.float64)
    return projected


def whitening(features: Floats, labels: NDArray[np.int64], shrinkage: float = SHRINKAGE) -> Floats:
    """A matrix (p, p) under which the shrunk within-class covariance is the identity."""
    return _scatter(features, labels, shrinkage)[0]


def _scatter(
    features: Floats, labels: NDArray[np.int64], shrinkage: float = SHRINKAGE, power: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """The whitening matrix, the covariance of the class means, and the mean of the class means."""
    classes, counts = np.unique(labels, return_counts=True)
    weights = counts**power / (counts**power).sum()
    means = np.stack([features[labels == label].mean(axis=0) for label in classes])
    within = np.zeros((features.shape[1],) * 2)
    for label, mean, weight in zip(classes, means, weights, strict=True):
        centred = features[labels == label] - mean
        within += weight * (centred.T @ centred / len(centred))
    within *= 1 - shrinkage
    within += shrinkage * np.trace(within) / (1 - shrinkage) / len(within) * np.eye(len(within))
    centred = means - means.mean(axis=0)
    values, directions = np.linalg.eigh(within)
    whiten = directions / np.sqrt(np.maximum(values, 1e-12))
    return whiten, centred.T @ centred / len(classes), means.mean(axis=0)
