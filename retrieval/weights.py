"""Weights of any size, brought to where their sums neither overflow nor vanish."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def scaled_weights(weights: Sequence[float]) -> NDArray[np.float64]:
    """Weights (n,) float64 in the same proportions, the largest magnitude from 0.5 to below 1.

    The factor is a power of two, so shares of their sum are equal to the last digit.
    """
    if len(weights) == 1:  # as of most queries, in a tenth of the time
        return np.array([math.ldexp(weights[0], -math.frexp(weights[0])[1])])
    given = np.array(weights, np.float64)
    scaled: NDArray[np.float64] = np.ldexp(given, -np.frexp(np.abs(given).max(initial=0))[1])
    return scaled
