"""What spaces of vectors of unit length have in common: they are compared by cosine."""

from __future__ import annotations

from abc import ABC
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.cosine import Cosine
from retrieval.spaces.protocol import Space, VectorError, finite_vector

_UNIT = 1e-5
"""How far a length may be from 1 for a row to be stored as it is, to the bit: ten times what float32 leaves."""


class UnitVectorSpace(Space, ABC):
    """A space whose vectors have unit length; a vector from outside is brought to it."""

    @property
    def metric(self) -> Cosine:
        """Cosine distance."""
        return Cosine()

    def validate(self, vector: NDArray[Any]) -> NDArray[Any]:
        """The vector at unit length, whatever its own."""
        checked, length = _lengths(finite_vector(vector, self.definition, "float64"))[:2]
        if length == 0:
            raise VectorError("the vector is zero, so it has no direction to compare")
        return np.asarray(checked / length, self.definition.dtype)

    def combine(self, vectors: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[Any] | None:
        """The direction of the weighted sum: a sum of cosines is the cosine to the sum, but for its length."""
        total = weights @ vectors.astype(np.float64)
        length = float(np.linalg.norm(total))
        return (total / length).astype(self.definition.dtype) if length > 1e-6 * np.abs(weights).sum() else None

    def import_rows(self, vectors: NDArray[Any]) -> tuple[NDArray[Any], dict[int, str]]:
        """Rows at unit length; those that have it already stay as they are, to the bit."""
        with np.errstate(over="ignore"):
            given = np.array(vectors, self.definition.dtype).astype(np.float64)
        largest, limits = np.abs(given).max(axis=1, initial=0), np.finfo(self.definition.dtype)
        beyond = ~((largest >= limits.tiny) & (largest <= limits.max))  # too large or small for the dtype
        given[beyond] = vectors[beyond]
        scaled, lengths, exponents = _lengths(given)
        with np.errstate(over="ignore"):  # of a length that is infinite, and so not 1
            others = np.abs(np.ldexp(lengths, exponents) - 1) > _UNIT
        others &= (lengths > 0) & np.isfinite(lengths)
        given[others] = scaled[others] / lengths[others, None]
        rows, faults = super().import_rows(given)
        zero = np.flatnonzero(lengths == 0).tolist()
        return rows, faults | dict.fromkeys(zero, "is zero, so it has no direction to compare")


def _lengths(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Vectors (..., d) by a power of two, so that no square overflows or vanishes, their lengths, and its exponent."""
    exponents = np.frexp(np.abs(vectors).max(axis=-1, initial=0))[1]
    scaled = np.ldexp(vectors, -exponents[..., None])
    return scaled, np.linalg.norm(scaled, axis=-1), exponents
