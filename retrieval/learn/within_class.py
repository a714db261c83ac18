"""Within-class covariance normalisation, WCCN (Hatch, Kajarekar and Stolcke, Interspeech 2006).

Directions in which images of one class differ count less; unlike a discriminant, no direction is dropped, so that
classes which were not learned stay apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn import discriminant
from retrieval.learn.whitening import Arrays, Floats

SHRINKAGE = 0.3


def fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    """The symmetric root of the inverse within-class covariance, (p, p). Deterministic: `seed` is not used."""
    whiten = discriminant.whitening(features, labels, SHRINKAGE)
    values, directions = np.linalg.eigh(whiten @ whiten.T)
    matrix = (directions * np.sqrt(np.maximum(values, 0))) @ directions.T
    return {"matrix": matrix.astype(np.float32)}


def apply(arrays: Arrays, features: Floats) -> Floats:
    """Features (n, p) -> (n, p)."""
    projected: Floats = features @ arrays["matrix"].astype(np.float64)
    return projected
