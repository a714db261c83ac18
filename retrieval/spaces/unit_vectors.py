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
        checked = finite_vector(vector, self.definition)
        length = float(np.linalg.norm(checked.astype(np.float64)))
        if length == 0:
            raise VectorError("the vector is zero, so it has no direction to compare")
        return (checked / length).astype(self.definition.dtype)

    def combine(self, vectors: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[Any] | None:
        """The direction of the weighted sum: a sum of cosines is the cosine to the sum, but for its length."""
        total = weights @ vectors.astype(np.float64)
        length = float(np.linalg.norm(total))
        return (total / length).astype(self.definition.dtype) if length > 1e-6 * np.abs(weights).sum() else None

    def import_rows(self, vectors: NDArray[Any]) -> tuple[NDArray[Any], dict[int, str]]:
        """Rows at unit length; those that have it already stay as they are, to the bit."""
        rows, faults = super().import_rows(vectors)
        wide = rows.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1)
        zero = np.flatnonzero(lengths == 0)
        scaled = np.flatnonzero((np.abs(lengths - 1) > _UNIT) & (lengths > 0) & np.isfinite(lengths))
        rows[scaled] = wide[scaled] / lengths[scaled, None]
        return rows, faults | dict.fromkeys(zero.tolist(), "is zero, so it has no direction to compare")
