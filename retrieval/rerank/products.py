"""Inner products that are equal for equal vectors, so that ties are ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDER = 2.0**22
"""Adding and subtracting it rounds small numbers in double precision to multiples of 2**-30, faster than `np.round`."""


def products(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products (m, n) of vectors (m, d) and (n, d), or (m,) of vectors and one (d,), to 2**-30.

    A BLAS does not promise that equal vectors get equal products, and in the last digits it decides by chance which of
    two copies ranks first.
    """
    made = np.asarray(left @ right.T, np.float64)
    made += _ROUNDER
    made -= _ROUNDER
    return made
