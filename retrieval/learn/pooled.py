"""Discriminant analysis whose within-class covariance counts classes by how many images they have.

A covariance that a dozen images give is mostly chance, and the classes' means alone should weigh the same. Measured by
tests/benchmarks/bench_quality.py: small classes gain where no unlearned share is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.learn import discriminant
from retrieval.learn.discriminant import apply
from retrieval.learn.whitening import Floats

__all__ = ["POWER", "apply", "fit"]

POWER = 0.75
"""Of the number of images, by cross-validation on splits that are not reported; 1 would pool all images."""


def fit(features: Floats, labels: NDArray[np.int64], seed: int) -> dict[str, NDArray[np.float32]]:
    """Mean (p,) and directions (p, C - 1) of features (n, p). Deterministic: `seed` is not used."""
    return discriminant.fisher(features, labels, POWER)
