"""Frozen vectors as one: each number standardised, sources of equal weight, then principal components."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[np.float32]]
"""The parameters of one step, by name."""


def fit_components(vectors: Floats, lengths: tuple[int, ...], dimension: int) -> dict[str, NDArray[np.float32]]:
    """Mean, scale and principal components of vectors (n, d), sources side by side with lengths that sum up to d.

    scale: one over the standard deviation and over the root of the source's length, so that sources weigh the same; 0
    for a number that never changes. components: (d, p), p at most `dimension` and n - 1, not whitened.
    """
    mean = vectors.mean(axis=0)
    deviation = vectors.std(axis=0)
    weights = np.concatenate([np.full(length, length**-0.5) for length in lengths])
    scale = np.divide(weights, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    standardised = (vectors - mean) * scale
    covariance = standardised.T @ standardised / len(vectors)
    values, directions = np.linalg.eigh(covariance)
    order = np.argsort(-values, kind="stable")[: min(dimension, len(vectors) - 1)]
    order = order[values[order] > 1e-12 * max(values.max(initial=0), 1e-300)]
    chosen = directions[:, order]
    # The sign of an eigenvector is arbitrary: its largest number is made positive.
    chosen *= np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    return {
        name: array.astype(np.float32) for name, array in (("mean", mean), ("scale", scale), ("components", chosen))
    }


def apply_components(arrays: Arrays, vectors: Floats) -> Floats:
    """Vectors (n, d) -> components (n, p)."""
    projected: Floats = ((vectors - arrays["mean"]) * arrays["scale"]) @ arrays["components"].astype(np.float64)
    return projected


def unit(vectors: Floats) -> Floats:
    """Rows at unit length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return out
